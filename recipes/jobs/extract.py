"""Features of a whole data set, without training: once a video, resumable, shared out to an array of jobs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from datamodules.questions.video_questions import VideoQuestionData
from datamodules.video.extraction import Shard, Summary
from modules.console import PlainConsole
from modules.files.strict_json import strict_json
from modules.mllms.base import MLLM
from recipes.jobs.base import Job


class ExtractFeatures(Job):
    """Stores what encoders make of every video of a data set, ahead of training or by an array of jobs.

    Args:
        data: whose videos; its encoder's features are stored.
        splits: which of its splits.
        mllm: store this model's frame tokens as well, for ``store_frame_tokens``.
        shard: this job's share of the videos; by default SLURM's array variables say.
    """

    def __init__(
        self,
        *,
        data: VideoQuestionData,
        splits: list[str],
        mllm: MLLM | None = None,
        shard: Shard | None = None,
    ) -> None:
        if data.encoder is None and mllm is None:
            raise ValueError("nothing to extract: data.encoder is null and no mllm is named")
        if mllm is not None and not mllm.injects:
            raise ValueError(
                f"{type(mllm).__name__} as it is set up encodes frames together; its tokens cannot be stored"
            )
        self.data, self.splits, self.mllm, self.shard = data, splits, mllm, shard or Shard()

    def run(self, run_dir: Path) -> None:
        self.data.prepare_data()
        summary = self.data.extract([] if self.mllm is None else [self.mllm], self.splits, self.shard)
        self.data.teardown("")
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "failures.json").write_text(strict_json(summary.bad, indent=2) + "\n")
        console = PlainConsole()
        for line in summary_lines(summary):
            console.print(line)
        console.print(f"store       {self.data.store.root}")
        if summary.bad:
            console.print(f"failures    {run_dir / 'failures.json'}")


def summary_lines(summary: Summary) -> list[str]:
    """What a pass did, and why what failed."""
    new = summary.num_videos - summary.num_stored_before - len(summary.bad)
    lines = [
        f"videos      {summary.num_videos}: {new} encoded, {summary.num_stored_before} stored before, "
        f"{len(summary.bad)} failed",
        f"frames      {summary.num_frames} in {summary.seconds:.1f} s, {summary.frames_per_s:.0f} frames/s",
    ]
    for reason, count in Counter(summary.bad.values()).most_common():
        example = next(path for path, why in summary.bad.items() if why == reason)
        lines.append(f"failed      {count}: {reason}, e.g. {example}")
    return lines
