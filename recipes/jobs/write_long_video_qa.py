"""MSJoE's kind of training data: long videos, questions of a difficulty that something can be learnt from, as one JSON.

The paper's 2.8 k videos and 7 k questions are not public. This builds the like from any source of questions: videos
above a length, pass rates inside a range (what is always solved teaches nothing), and writes what
`datamodules.annotations.long_video_qa` reads back.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from datamodules.annotations.long_video_qa import write_long_video_qa
from datamodules.questions.annotated import AnnotatedVideos
from datamodules.questions.pass_rate_files import read_pass_rates, with_pass_rates
from datamodules.video.decode_pool import DecodeWorker
from datamodules.video.video_info import BadVideoError
from modules.files.paths import InputPath
from modules.records import VideoQuestion
from recipes.jobs.base import Job
from recipes.jobs.counts import report


class LongVideoQAData(Job):
    """Writes a data set of long-video questions in one file, with pass rates where there are some.

    Args:
        data: questions under ``train``.
        rates: file of their pass rates (recipes/data/pass_rates.yaml).
        out: JSON file.
        pass_rate_range: keep questions from the first to the second; 0.99 drops what is always solved.
        min_duration_s: keep videos at least so long (paper: mean above 10 minutes).
    """

    def __init__(
        self,
        *,
        data: AnnotatedVideos,
        rates: InputPath,
        out: str,
        pass_rate_range: tuple[float, float] = (0.0, 0.99),
        min_duration_s: float = 60.0,
    ) -> None:
        if not 0 <= pass_rate_range[0] <= pass_rate_range[1] <= 1:
            raise ValueError(f"pass_rate_range={list(pass_rate_range)}: two shares, the first no more than the second")
        self.data, self.rates, self.out = data, rates, Path(out)
        self.pass_rate_range, self.min_duration_s = pass_rate_range, min_duration_s

    def run(self, run_dir: Path) -> None:
        questions = with_pass_rates(self.data.questions("train"), read_pass_rates(self.rates))
        lengths: dict[str, float | None] = {}
        worker = DecodeWorker()
        try:
            for question in questions:
                if question.video not in lengths:
                    lengths[question.video] = question.duration_s or _duration_s(worker, question.video)
        finally:
            worker.stop()
        verdicts = [self._verdict(q, lengths[q.video]) for q in questions]
        kept = [q for q, verdict in zip(questions, verdicts, strict=True) if verdict == "kept"]
        root = self.data.sources["train"].videos  # type: ignore[union-attr]
        write_long_video_qa(self.out, kept, lengths, root)
        report(
            run_dir,
            self.out,
            len(questions),
            Counter(verdicts),
            "lightning run recipes/paper/msjoe_pretrain_qwen2_5_vl_7b.yaml --train {out} --videos ...",
        )

    def _verdict(self, question: VideoQuestion, duration_s: float | None) -> str:
        low, high = self.pass_rate_range
        if duration_s is None:
            return "video cannot be read"
        if duration_s < self.min_duration_s:
            return f"video shorter than {self.min_duration_s:g} s"
        if question.pass_rate is None:
            return "no pass rate"
        if not low <= question.pass_rate <= high:
            return f"pass rate outside of {low:g} to {high:g}"
        return "kept"


def _duration_s(worker: DecodeWorker, video: str) -> float | None:
    """Length of a file; None where it cannot be read."""
    try:
        return worker.probe(video).duration_s
    except BadVideoError:
        return None
