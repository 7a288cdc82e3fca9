"""Evaluations in small: run folders on disk with answers, selections, card and videos, and runs as they were read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import yaml

from modules.evaluation.answer_files import Answered, write_answers
from modules.evaluation.report.run_folder import EvaluatedRun
from modules.records import Answer, Cost, TraceStep
from modules.selection.selection_files import write_selections
from modules.selection.selection_row import SelectionRow

HOSTILE = "<script>alert(1)</script> \"quoted\" & 'so' on"
NUM_VIDEOS, PER_VIDEO, FPS, NUM_VIDEO_FRAMES = 4, 3, 2, 80
SHARES = {"uniform": 0.25, "mine": 0.6, "oracle": 0.95}


def write_video(path: Path, number: int) -> None:
    """Forty seconds of a square that moves."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height = 64, 48
        for n in range(NUM_VIDEO_FRAMES):
            pixels = np.full((48, 64, 3), (40 * number, 90, 160), np.uint8)
            pixels[10:30, n % 44 : n % 44 + 20] = (250, 220, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())


def write_run(
    folder: Path,
    *,
    shares: Mapping[str, float] = SHARES,
    seed: int = 0,
    recipe: Mapping[str, Any] | None = None,
    num_frames: int = 4,
    videos: str = "videos",
    num_videos: int = NUM_VIDEOS,
    question: str = "Which colour?",
) -> Path:
    """Writes a run; each system is right on about its share of the questions, and `mine` differs by seed."""
    rng, answered, selections = np.random.default_rng(seed), [], []
    asked, looking = np.random.default_rng(100), np.random.default_rng(200)
    for video in range(num_videos):
        for n in range(PER_VIDEO):
            start = float(asked.integers(2, 36))
            luck = asked.random()
            for system, share in shares.items():
                right = (rng.random() if system == "mine" else luck) < share
                frames = sorted(looking.choice(NUM_VIDEO_FRAMES, num_frames, replace=False).tolist())
                times = tuple(frame / FPS for frame in frames)
                index = n % 3
                chosen = index if right else (index + 1) % 3
                name = f"{videos}/v{video}.mp4"
                answer = Answer(
                    dataset="small",
                    split="test",
                    sample_id=f"v{video}-q{n}",
                    video=name,
                    system=system,
                    question=f"{question} {n}",
                    options=("red", HOSTILE, "blue"),
                    answer_index=index,
                    option_log_probs=tuple(-0.1 if o == chosen else -3.0 for o in range(3)),
                    timestamps_s=times,
                    evidence_s=((start, start + 2.0),),
                    groups={"kind": "needle" if n else "count"},
                    exit="fine" if system == "mine" else None,
                )
                cost = Cost(frames_decoded=80, frames_shown=num_frames, calls=1, seconds={"answer": 0.01 * num_frames})
                trace = (
                    (TraceStep(action="look", role="reasoner", text=f"I see {HOSTILE}"),) if system == "mine" else ()
                )
                answered.append(Answered(answer, cost, trace))
                scores = tuple(float(s) for s in looking.random(num_frames))
                row = SelectionRow("small", "test", answer.sample_id, name, system, tuple(frames), times, scores)
                selections.append(
                    SelectionRow(**{**vars(row), "video_fps": float(FPS), "num_video_frames": NUM_VIDEO_FRAMES})
                )
    folder.mkdir(parents=True)
    write_answers(folder / "answers.jsonl", answered)
    write_selections(folder / "selections.parquet", selections)
    described = {system: f"{system}-{seed if system == 'mine' else 0}" for system in shares}
    card = {"num_frames": num_frames, "mllm_key": "m", "systems": described, "mllm": HOSTILE}
    (folder / "card.json").write_text(json.dumps(card))
    own = {"model": {"init_args": {"num_frames": num_frames}}, **(recipe or {}), "seed_everything": seed}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**own, "run_dir": str(folder)}))
    (folder / "environment.json").write_text(json.dumps({"working_folder": str(folder.parent)}))
    return folder


def evaluated(
    folder: str,
    grades: Mapping[str, Sequence[Sequence[int]]],
    *,
    asked: str = "What",
    recipe: Mapping[str, Any] | None = None,
    card: Mapping[str, Any] | None = None,
    dataset: str = "small",
) -> EvaluatedRun:
    """A run as it was read, whose systems are right as told.

    Args:
        folder: its name.
        grades: 1 or 0 of each system, of each video, of each of its questions.
        asked: how its questions begin; runs share those that begin alike.
        recipe, card: what it was made by.
        dataset: of all questions.
    """
    answered = [
        Answered(
            Answer(
                dataset=dataset,
                split="test",
                sample_id=f"v{v}-q{q}",
                video=f"v{v}.mp4",
                system=system,
                question=f"{asked} {v} {q}?",
                options=("yes", "no"),
                answer_index=0,
                option_log_probs=(-0.1, -3.0) if right else (-3.0, -0.1),
                evidence_s=((1.0, 2.0),),
            )
        )
        for system, videos in grades.items()
        for v, of_video in enumerate(videos)
        for q, right in enumerate(of_video)
    ]
    return EvaluatedRun(Path(folder), answered, {}, card or {}, recipe or {}, {})


def haystack(**world: Any) -> dict[str, Any]:
    """A recipe of comparison on some world."""
    return {"name": "comparison", "data": {"init_args": {"world": world}}}
