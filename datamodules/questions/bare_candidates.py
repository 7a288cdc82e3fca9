"""The candidates of questions where no sampler looks at features: the grid, or the frames of a selections file."""

from __future__ import annotations

import numpy as np
import torch

from datamodules.questions.selected_frames import SelectedFrames
from datamodules.video.candidate_grid import CandidateGrid
from datamodules.video.feature_store import Entry
from datamodules.video.frame_reader import FrameReader
from modules.records import Candidates, VideoQuestion


class BareCandidates:
    """Entries with candidates and no features: each candidate's vector has no entry, (T, 0).

    Args:
        reader: knows what files hold.
        grid: how candidates are chosen, where no file says which they are.
        selections: whose frames are the candidates, in the place of the grid.
    """

    def __init__(self, reader: FrameReader, grid: CandidateGrid, selections: SelectedFrames | None = None) -> None:
        self.reader, self.grid, self.selections = reader, grid, selections
        self._chosen = {} if selections is None else selections.by_question()

    def __call__(self, question: VideoQuestion) -> Entry:
        """Of a question whose file was probed, or is now.

        Raises:
            ValueError: the selections file has no such question, or frames that the file does not have.
        """
        info = self.reader.info(question.video)
        frame_ids = self.grid.frame_ids(info) if self.selections is None else self._selected(question, info.num_frames)
        times = torch.from_numpy(info.timestamps_s[frame_ids])
        candidates = Candidates(question.video, torch.from_numpy(frame_ids), times, info.duration_s, info.num_frames)
        return Entry(candidates, torch.empty(len(frame_ids), 0))

    def _selected(self, question: VideoQuestion, num_frames: int) -> np.ndarray:
        assert self.selections is not None
        if question.sample_id not in self._chosen:
            raise ValueError(f"{self.selections.path} has no selection for question {question.sample_id}")
        frame_ids = np.array(self._chosen[question.sample_id], dtype=np.int64)
        if frame_ids.max(initial=-1) >= num_frames:
            raise ValueError(
                f"{self.selections.path}: question {question.sample_id} has frame {frame_ids.max()}, but "
                f"{question.video} has {num_frames} frames; another version of the file?"
            )
        return frame_ids
