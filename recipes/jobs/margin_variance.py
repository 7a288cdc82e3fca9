"""ReFoCUS's variance filter: keep the questions whose answer depends on which part of the video is shown.

The paper measures the margin of 16 structured subsets of a video's frames and keeps a question where its variance is
above 0.2 (393 of 962 thousand). How many frames a subset has, and which variance is meant, it does not say.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import NonNegativeFloat, PositiveInt
from torch import Tensor

from datamodules.questions.video_questions import VideoQuestionData
from datamodules.video.video_info import BadVideoError
from modules.mllms.base import MLLM, Row
from modules.part_progress import tracked
from modules.records import VideoQuestion
from modules.rewards.margin import margin_of
from modules.selection.even_spacing import evenly_spaced
from recipes.jobs.asking import Clips, by_video
from recipes.jobs.base import Job
from recipes.jobs.counts import report
from recipes.jobs.question_files import append_line, resume_lines, write_lines

_NUM_WINDOWS = 8


def structured_subsets(num_grid_frames: int, num_frames: int) -> list[Tensor]:
    """Eight windows of a quarter of the video, each an eighth further, the last around the ends; then what each leaves.

    Args:
        num_grid_frames: N evenly spaced frames of the video.
        num_frames: K; a subset with more is thinned out evenly.

    Returns:
        16 increasing int64 tensors of positions on the grid.
    """
    where = (torch.arange(num_grid_frames) + 0.5) / num_grid_frames
    subsets = []
    for window in range(_NUM_WINDOWS):
        inside = (where - window / _NUM_WINDOWS) % 1.0 < 2 / _NUM_WINDOWS
        subsets.append((torch.nonzero(inside).flatten(), torch.nonzero(~inside).flatten()))
    whole = [w for w, _ in subsets] + [c for _, c in subsets]
    return [s[evenly_spaced(len(s), min(len(s), num_frames))] for s in whole]


class MarginVariance(Job):
    """Keeps the questions whose margin depends on which frames are shown (ReFoCUS).

    Args:
        data: whose questions.
        mllm: the reference model that will give the reward.
        out: JSON lines, the kept questions' ids, for ``data.filter.train_ids``. All margins lie beside it, so a cut-off
            run goes on, and another threshold costs nothing.
        split: of the data.
        num_frames: of a subset.
        min_variance: of the 16 margins (ddof 0), which a kept question exceeds (paper: 0.2).
        rows_per_forward: of the model.
        short_side_px: frames are shrunk to this; None keeps them.
    """

    def __init__(
        self,
        *,
        data: VideoQuestionData,
        mllm: MLLM,
        out: str,
        split: str = "train",
        num_frames: PositiveInt = 32,
        min_variance: NonNegativeFloat = 0.2,
        rows_per_forward: PositiveInt = 16,
        short_side_px: PositiveInt | None = None,
    ) -> None:
        self.data, self.mllm, self.out, self.split = data, mllm, Path(out), split
        self.num_frames, self.min_variance = num_frames, min_variance
        self.rows_per_forward, self.short_side_px = rows_per_forward, short_side_px

    @property
    def margins(self) -> Path:
        """Beside the result: every question with its 16 margins."""
        return self.out.with_suffix(".margins.jsonl")

    @torch.no_grad()
    def run(self, run_dir: Path) -> None:
        self.data.prepare_data()
        questions = [q for q in self.data.questions(self.split) if q.answer_index is not None]
        self.out.parent.mkdir(parents=True, exist_ok=True)
        known = {row["id"]: row for row in resume_lines(self.margins)}
        # four subsets' worth of frames, so that a window has as many as its complement is thinned to
        clips = Clips(self.mllm, 4 * self.num_frames, self.short_side_px)
        videos = by_video(q for q in questions if q.sample_id not in known)
        try:
            for video, group in tracked(videos, "Asking about parts of videos", len(videos), "videos"):
                for row in self._measure(video, group, clips):
                    known[row["id"]] = row
                    append_line(self.margins, row)
        finally:
            clips.close()
        kept, counts = [], Counter[str]()
        for row in (known[q.sample_id] for q in questions):
            if "why" in row:
                counts["video cannot be read"] += 1
                continue
            variance = float(torch.tensor(row["margins"]).var(correction=0))
            if variance > self.min_variance:
                kept.append({"id": row["id"], "margin_variance": round(variance, 4)})
            counts["kept" if variance > self.min_variance else f"variance of at most {self.min_variance:g}"] += 1
        write_lines(self.out, kept)
        report(
            run_dir,
            self.out,
            len(questions),
            counts,
            "lightning run recipes/refocus.yaml --data.filter.train_ids {out}",
        )

    def _measure(self, video: str, questions: list[VideoQuestion], clips: Clips) -> list[dict[str, Any]]:
        try:
            tokens, _ = clips.load(video)
        except BadVideoError as error:
            return [{"id": q.sample_id, "why": error.reason} for q in questions]
        subsets = structured_subsets(len(tokens.timestamps_s), self.num_frames)
        out = []
        for question in questions:
            rows = [Row(question, tokens, subset) for subset in subsets]
            scores = torch.cat(
                [
                    self.mllm.score_rows(rows[start : start + self.rows_per_forward])
                    for start in range(0, len(rows), self.rows_per_forward)
                ]
            )
            margins = margin_of(scores, torch.tensor(question.answer_index))
            out.append({"id": question.sample_id, "margins": [round(float(m), 4) for m in margins]})
        return out
