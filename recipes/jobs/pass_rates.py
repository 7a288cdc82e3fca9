"""Pass rates: how often the MLLM solves each question on evenly spaced frames (MSJoE's difficulty labels).

The paper labels its training questions with the pass rate of the base MLLM and does not say over how many trials; here
8 answers are drawn a question, at temperature 1.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import PositiveInt

from datamodules.questions.video_questions import VideoQuestionData
from datamodules.video.video_info import BadVideoError
from modules.console import PlainConsole
from modules.files.strict_json import strict_json
from modules.mllms.base import MLLM
from modules.parsing import parse_option
from modules.part_progress import tracked
from modules.records import VideoQuestion
from modules.seeds import seed_of
from recipes.jobs.asking import Clips, by_video
from recipes.jobs.base import Job
from recipes.jobs.question_files import append_line, resume_lines


class PassRates(Job):
    """Measures how often a model solves each question on evenly spaced frames.

    Args:
        data: whose questions.
        mllm: whose pass rates, with the prompt it will be trained on.
        out: JSON lines, one a question; a cut-off run goes on where it stopped.
        split: of the data.
        num_frames: evenly spaced.
        num_trials: answers drawn a question.
        temperature: they are drawn at.
        max_new_tokens: of an answer.
        rows_per_forward: answers drawn at a time; the draws do not depend on it.
        short_side_px: frames are shrunk to this; None keeps them.
        seed: of the draws.
    """

    def __init__(
        self,
        *,
        data: VideoQuestionData,
        mllm: MLLM,
        out: str,
        split: str = "train",
        num_frames: PositiveInt = 32,
        num_trials: PositiveInt = 8,
        temperature: float = 1.0,
        max_new_tokens: PositiveInt = 256,
        rows_per_forward: PositiveInt = 16,
        short_side_px: PositiveInt | None = None,
        seed: int = 0,
    ) -> None:
        if temperature <= 0:
            raise ValueError(f"temperature={temperature}: above 0, or all trials would be one")
        self.data, self.mllm, self.out, self.split = data, mllm, Path(out), split
        self.num_frames, self.num_trials, self.temperature = num_frames, num_trials, temperature
        self.max_new_tokens, self.rows_per_forward = max_new_tokens, rows_per_forward
        self.short_side_px, self.seed = short_side_px, seed

    @torch.no_grad()
    def run(self, run_dir: Path) -> None:
        self.data.prepare_data()
        questions = [q for q in self.data.questions(self.split) if q.answer_index is not None]
        self.out.parent.mkdir(parents=True, exist_ok=True)
        known = {row["id"]: row for row in resume_lines(self.out)}
        clips = Clips(self.mllm, self.num_frames, self.short_side_px)
        videos = by_video(q for q in questions if q.sample_id not in known)
        unread: Counter[str] = Counter()
        try:
            for video, group in tracked(videos, "Asking about videos", len(videos), "videos"):
                try:
                    rows = self._ask(group, video, clips)
                except BadVideoError:
                    unread["video cannot be read"] += len(group)
                    continue
                for row in rows:
                    known[row["id"]] = row
                    append_line(self.out, row)
        finally:
            clips.close()
        rates = [known[q.sample_id]["pass_rate"] for q in questions if q.sample_id in known]
        self._report(run_dir, rates, unread)

    def _report(self, run_dir: Path, rates: list[float], unread: Counter[str]) -> None:
        """How many questions are how hard, on paper and on the screen."""
        counts = Counter(_bin(rate) for rate in rates)
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "counts.json").write_text(strict_json({**counts, **unread}, indent=2) + "\n")
        console = PlainConsole()
        for name in sorted(counts):
            console.print(f"{name:<24} {counts[name]:6d} {'#' * round(40 * counts[name] / len(rates))}")
        for name, count in unread.items():
            console.print(f"{name:<24} {count:6d}")
        console.print(f"written     {self.out}")
        console.print(
            f"next        data.filter.pass_rates, or lightning run recipes/data/long_video_qa.yaml --rates {self.out}",
            highlight=False,
            soft_wrap=True,
        )

    def _ask(self, questions: list[VideoQuestion], video: str, clips: Clips) -> list[dict[str, Any]]:
        """All trials of all questions on one video, ``rows_per_forward`` at a time."""
        rows = [row for q in questions for row in [clips.row(q, video)] * self.num_trials]
        seeds = [seed_of(f"{self.seed}/{q.sample_id}/{n}") for q in questions for n in range(self.num_trials)]
        texts: list[str] = []
        for start in range(0, len(rows), self.rows_per_forward):
            part = slice(start, start + self.rows_per_forward)
            texts += self.mllm.generate(rows[part], self.max_new_tokens, self.temperature, seeds[part]).texts
        out = []
        for n, question in enumerate(questions):
            said = texts[n * self.num_trials : (n + 1) * self.num_trials]
            right = sum(parse_option(text, question.options) == question.answer_index for text in said)
            out.append(
                {
                    "id": question.sample_id,
                    "pass_rate": right / self.num_trials,
                    "num_trials": self.num_trials,
                    "num_frames": self.num_frames,
                    "max_new_tokens": self.max_new_tokens,
                    "decoding": self.mllm.decoding(self.temperature),
                }
            )
        return out


def _bin(rate: float) -> str:
    """Where a pass rate belongs, in words."""
    if rate in (0.0, 1.0):
        return f"pass rate {rate:.0f}"
    low = min(int(rate * 4), 3) / 4
    return f"pass rate {low:g} to {low + 0.25:g}"
