"""TSPO's comprehensive data: keep the questions that few frames miss and many frames solve (paper sec. 3.3, 4.1).

The paper keeps LLaVA-Video-178K questions that 4 uniform frames get wrong and 64 get right; no code of that is public.
Questions right with few frames teach a sampler nothing, those wrong with many are beyond the model.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import PositiveInt

from datamodules.questions.annotated import AnnotatedVideos
from datamodules.video.video_info import BadVideoError
from modules.mllms.base import MLLM
from modules.part_progress import tracked
from modules.records import VideoQuestion
from recipes.jobs.asking import Clips
from recipes.jobs.base import Job
from recipes.jobs.counts import report
from recipes.jobs.question_files import append_line, resume_lines, tspo_record, write_lines


class FilterByDifficulty(Job):
    """Keeps the questions that few frames miss and many frames solve.

    Args:
        data: questions under ``train``.
        mllm: whose mistakes count; the paper does not say which, presumably LLaVA-Video.
        out: file of the kept questions (JSON lines, as TSPO-10K); verdicts lie beside it, so a cut-off run goes on.
        few, many: frames (paper: 4 and 64).
        min_duration_s: shorter videos are left out (paper: over a minute).
        short_side_px: frames are shrunk to this; None keeps them.
    """

    def __init__(
        self,
        *,
        data: AnnotatedVideos,
        mllm: MLLM,
        out: str,
        few: PositiveInt = 4,
        many: PositiveInt = 64,
        min_duration_s: float = 60.0,
        short_side_px: PositiveInt | None = None,
    ) -> None:
        if few >= many:
            raise ValueError(f"few={few} has to be less than many={many}")
        self.data, self.mllm, self.out, self.few, self.many = data, mllm, Path(out), few, many
        self.min_duration_s, self.short_side_px = min_duration_s, short_side_px

    @property
    def verdicts(self) -> Path:
        """Beside the result: each question with whether it was right with few and with many frames."""
        return self.out.with_suffix(".verdicts.jsonl")

    @torch.no_grad()
    def run(self, run_dir: Path) -> None:
        questions = [q for q in self.data.questions("train") if q.answer_index is not None]
        known = {v["id"]: v for v in resume_lines(self.verdicts)}
        clips = Clips(self.mllm, self.many, self.short_side_px)
        by_video = sorted((q for q in questions if q.sample_id not in known), key=lambda q: q.video)
        try:
            asked = tracked(by_video, "Asking with few and with many frames", len(by_video), "questions")
            for question in asked:
                known[question.sample_id] = self._verdict(question, clips)
                append_line(self.verdicts, known[question.sample_id])
        finally:
            clips.close()
        kept = [q for q in questions if known[q.sample_id]["verdict"] == "kept"]
        root = self.data.sources["train"].videos  # type: ignore[union-attr]
        write_lines(self.out, (tspo_record(q, "general", root) for q in kept))
        counts = Counter(known[q.sample_id]["verdict"] for q in questions)
        report(run_dir, self.out, len(questions), counts)

    def _verdict(self, question: VideoQuestion, clips: Clips) -> dict[str, Any]:
        try:
            duration_s = clips.duration_s(question.video)
        except BadVideoError as error:
            return {"id": question.sample_id, "verdict": "video cannot be read", "why": error.reason}
        if duration_s <= self.min_duration_s:
            return {"id": question.sample_id, "verdict": f"video not longer than {self.min_duration_s:g} s"}
        few, many = (clips.right(question, question.video, n) for n in (self.few, self.many))
        verdict = f"right with {self.few} frames" if few else "kept" if many else f"wrong with {self.many} frames"
        return {"id": question.sample_id, "verdict": verdict, "few": few, "many": many}
