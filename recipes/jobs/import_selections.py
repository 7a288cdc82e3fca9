"""Turns selections that others have published into a selection file of ours, which any recipe can run as a system."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from datamodules.questions.annotated import AnnotatedVideos
from datamodules.video.decode_pool import DecodeWorker
from datamodules.video.video_info import VideoInfo
from modules.console import PlainConsole
from modules.files.rows import RowError
from modules.methods.training_free.released.base import AskedQuestions, ReleasedChoice, ReleasedSelections
from modules.selection.selection_files import write_selections
from modules.selection.selection_row import SelectionRow
from recipes.jobs.base import Job

_log = logging.getLogger(__name__)


class ImportSelections(Job):
    """Reads a published file, finds its questions, holds its frames against the videos, and writes a selection file.

    Args:
        data: the benchmark's questions under ``test``, with their videos.
        released: the file, in its layout.
        out: ``.parquet`` or ``.jsonl``.
        system: what the selections are called in tables.
        num_even: frames of questions to which a layout gives evenly spaced ones.
    """

    def __init__(
        self, *, data: AnnotatedVideos, released: ReleasedSelections, out: str, system: str, num_even: int = 32
    ) -> None:
        self.data, self.released, self.out, self.system, self.num_even = data, released, Path(out), system, num_even

    def run(self, run_dir: Path) -> None:
        questions = self.data.questions("test")
        rows, videos, repeated = [], dict[str, VideoInfo](), 0
        worker = DecodeWorker()
        try:
            for choice in self.released.choices(AskedQuestions(questions)):
                video = choice.question.video
                if video not in videos:
                    videos[video] = worker.probe(video)
                rows.append(row_of(choice, videos[video], self.system, self.num_even))
                repeated += choice.num_repeated
        finally:
            worker.stop()
        if not rows:
            raise ValueError(
                f"job.released: {self.released.path} has no row that belongs to one of the {len(questions)} questions"
            )
        write_selections(self.out, rows)
        if len(rows) < len(questions):
            _log.warning("%d of %d questions have no selection", len(questions) - len(rows), len(questions))
        PlainConsole().print(
            f"written     {self.out}: {len(rows)} of {len(questions)} questions, {repeated} repeated frames left out"
        )


def row_of(choice: ReleasedChoice, video: VideoInfo, system: str, num_even: int) -> SelectionRow:
    """A row of a selection file.

    Args:
        choice: as it was published.
        video: that it is about.
        system: what the selections are called.
        num_even: frames, where they are evenly spaced.

    Raises:
        RowError: a frame or a second lies behind the end of the video, so it is another encode of it.
    """
    times_s, question = np.asarray(video.timestamps_s), choice.question
    if choice.evenly:
        chosen = np.unique(np.linspace(0, len(times_s) - 1, num_even, dtype=int))
    elif choice.seconds:
        seconds = np.array(choice.seconds)
        if seconds.max() > times_s[-1] + 1.0:
            raise RowError(
                choice.row, "frames", float(seconds.max()), f"seconds of {question.video}, {times_s[-1]:.2f} s"
            )
        right = np.searchsorted(times_s, seconds).clip(1, max(len(times_s) - 1, 1))
        right = right.clip(max=len(times_s) - 1)
        left = (right - 1).clip(min=0)
        chosen = np.where(seconds - times_s[left] <= times_s[right] - seconds, left, right)
    else:
        chosen = np.array(choice.frame_ids)
        if chosen.max() >= len(times_s):
            allowed = f"frames of {question.video}, which has {len(times_s)}: the file belongs to another encode of it"
            raise RowError(choice.row, "frames", int(chosen.max()), allowed)
    chosen, first = np.unique(chosen, return_index=True)
    in_order = choice.best_first or bool(choice.scores)
    return SelectionRow(
        dataset=question.dataset,
        split=question.split,
        sample_id=question.sample_id,
        video=question.video,
        sampler=system,
        frame_ids=tuple(chosen.tolist()),
        timestamps_s=tuple(np.round(times_s[chosen], 6).tolist()),
        scores=tuple(choice.scores[i] for i in first) if choice.scores else (),
        ranks=tuple(np.argsort(np.argsort(first)).tolist()) if in_order else (),
        video_fps=len(times_s) / video.duration_s if video.duration_s else 0.0,
        num_video_frames=len(times_s),
    )
