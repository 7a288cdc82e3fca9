"""Everything a recipe for real models and benchmarks needs, in small: blank models of every family, short videos, and
annotation files in each benchmark's own layout. So any recipe can be tried on two CPU cores before a weight is there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jsonargparse.typing import PositiveInt

from datamodules.haystack.questions import ask
from datamodules.haystack.video_writing import write_video
from datamodules.haystack.world import World
from modules.console import PlainConsole
from modules.parsing import LETTERS
from modules.records import VideoQuestion
from modules.small_stack.blank_families import (
    FAMILIES,
    write_blank_family,
    write_blank_hf_clip,
    write_blank_refocus,
    write_blank_videostreaming,
)
from recipes.jobs.base import Job
from recipes.jobs.question_files import tspo_record, write_lines
from recipes.jobs.try_out_captions import write_blank_swinbert, write_captions, write_clips

_KINDS = {"needle": 1, "begin": 1, "end": 1, "order": 1}


class WriteTryOut(Job):
    """Writes small random models, videos and benchmark files, on which every recipe for real ones can be tried.

    Args:
        folder: gets ``models/``, ``videos/``, ``clips/`` of eight seconds, and a folder for each benchmark.
        num_videos: of 75 seconds.
        seed: of videos and weights.
    """

    def __init__(self, *, folder: str = "build/try_out", num_videos: PositiveInt = 5, seed: int = 0) -> None:
        self.folder, self.num_videos, self.seed = Path(folder), num_videos, seed

    def run(self, run_dir: Path) -> None:
        for family in FAMILIES:
            write_blank_family(family, self.folder / "models" / family, self.seed)
        write_blank_hf_clip(self.folder / "models" / "clip", seed=self.seed)
        write_blank_refocus(self.folder / "models" / "refocus", seed=self.seed)
        write_blank_videostreaming(self.folder / "models" / "videostreaming", seed=self.seed)
        write_blank_swinbert(self.folder / "models" / "swinbert", self.seed)
        write_annotations(self.folder, self._questions())
        write_captions(self.folder, write_clips(self.folder, self.seed))
        PlainConsole().print(f"written     {self.folder}")
        PlainConsole().print(
            "next        lightning run recipes/eval/mlvu.yaml --overlay recipes/overlays/try_out/eval.yaml "
            f"--annotations {self.folder}/mlvu/mlvu.json",
            soft_wrap=True,
        )

    def _questions(self) -> list[VideoQuestion]:
        world = World(seed=self.seed, duration_s=75.0, event_duration_s=(2.0, 2.5))
        videos = self.folder / "videos"
        videos.mkdir(parents=True, exist_ok=True)
        questions = []
        for n in range(self.num_videos):
            path = videos / f"v{n}.mp4"
            if not path.is_file():
                write_video(path, world, "test", n)
            rng = np.random.default_rng([self.seed, n])
            questions += ask(world.plan("test", n), "test", str(path), _KINDS, rng)
        return questions


def write_annotations(folder: Path, questions: list[VideoQuestion]) -> None:
    """The questions as LongVideoBench, MLVU, Video-MME, LVBench, NExT-GQA, TSPO-10K and LLaVA-Video publish theirs."""
    writers = {
        "longvideobench/lvb_val.json": _longvideobench,
        "mlvu/mlvu.json": _mlvu,
        "videomme/test.parquet": _videomme,
        "lvbench/video_info.meta.jsonl": _lvbench,
        "llava_video/mc.json": _llava_video,
    }
    for name, rows_of in writers.items():
        rows, path = rows_of(questions), folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            pd.DataFrame(rows).to_parquet(path)
        elif path.suffix == ".jsonl":
            write_lines(path, rows)
        else:
            path.write_text(json.dumps(rows))
    _nextgqa(questions, folder / "nextgqa")
    root = folder / "videos"
    records = [tspo_record(q, ("general", "specific")[n % 2], root) for n, q in enumerate(questions)]
    write_lines(folder / "tspo_10k" / "TSPO_10k.jsonl", records)


def _stem(question: VideoQuestion) -> str:
    return Path(question.video).stem


def _letter(question: VideoQuestion) -> str:
    assert question.answer_index is not None
    return LETTERS[question.answer_index]


def _with_options(question: VideoQuestion) -> str:
    return "\n".join([question.question, *(f"({LETTERS[o]}) {text}" for o, text in enumerate(question.options))])


def _longvideobench(questions: list[VideoQuestion]) -> list[dict[str, Any]]:
    return [
        {
            "video_id": _stem(q),
            "question": q.question,
            "candidates": list(q.options),
            "correct_choice": q.answer_index,
            "position": [0],
            "question_category": "S2E",
            "level": "L1",
            "id": f"{_stem(q)}_{n}",
            "video_path": f"{_stem(q)}.mp4",
            "duration_group": 60,
            "starting_timestamp_for_subtitles": 0,
            "duration": q.duration_s,
        }
        for n, q in enumerate(questions)
    ]


def _mlvu(questions: list[VideoQuestion]) -> list[dict[str, Any]]:
    return [
        {
            "video_name": f"{_stem(q)}.mp4",
            "duration": q.duration_s,
            "question": _with_options(q),
            "candidates": list(q.options),
            "answer": _letter(q),
            "task_type": ("needle", "order")[n % 2],
            "question_id": f"Q{n}",
        }
        for n, q in enumerate(questions)
    ]


def _videomme(questions: list[VideoQuestion]) -> list[dict[str, Any]]:
    return [
        {
            "video_id": f"{n:03d}",
            "duration": "short",
            "domain": "Knowledge",
            "sub_category": "Shapes",
            "url": "",
            "videoID": _stem(q),
            "question_id": f"{n:03d}-1",
            "task_type": "Counting",
            "question": q.question,
            "options": [f"{LETTERS[o]}. {text}" for o, text in enumerate(q.options)],
            "answer": _letter(q),
        }
        for n, q in enumerate(questions)
    ]


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def _lvbench(questions: list[VideoQuestion]) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for n, q in enumerate(questions):
        about = {"duration_minutes": q.duration_s / 60, "fps": 2}
        row = rows.setdefault(_stem(q), {"key": _stem(q), "type": "cartoon", "video_info": about, "qa": []})
        start, end = q.evidence_s[0]
        row["qa"].append(
            {
                "uid": str(n),
                "question": _with_options(q),
                "answer": _letter(q),
                "question_type": ["entity recognition"],
                "time_reference": f"{_clock(start)}-{_clock(end)}",
            }
        )
    return list(rows.values())


def _llava_video(questions: list[VideoQuestion]) -> list[dict[str, Any]]:
    return [
        {
            "id": q.sample_id,
            "video": f"{_stem(q)}.mp4",
            "data_source": "try_out",
            "conversations": [
                {
                    "from": "human",
                    "value": "<image>\n"
                    + "\n".join([q.question, *(f"{LETTERS[o]}. {text}" for o, text in enumerate(q.options))]),
                },
                {"from": "gpt", "value": f"{_letter(q)}. {q.answer}"},
            ],
        }
        for q in questions
    ]


def _nextgqa(questions: list[VideoQuestion], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows, spans = [], {}  # type: ignore[var-annotated]
    for n, q in enumerate(questions):
        options = [*q.options, *("none of these",) * 5][:5]
        rows.append(
            {
                "video_id": _stem(q),
                "frame_count": 150,
                "width": 64,
                "height": 64,
                "question": q.question.lower(),
                "answer": q.answer,
                "qid": str(n),
                "type": "CW",
                **{f"a{o}": text for o, text in enumerate(options)},
            }
        )
        about = spans.setdefault(_stem(q), {"duration": int(q.duration_s), "fps": 2.0, "location": {}})
        about["location"][str(n)] = [list(span) for span in q.evidence_s]
    pd.DataFrame(rows).to_csv(folder / "test.csv", index=False)
    (folder / "gsub_test.json").write_text(json.dumps(spans))
    (folder / "map_vid_vidorID.json").write_text(json.dumps({stem: stem for stem in spans}))
