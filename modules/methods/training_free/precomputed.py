"""Selections from a file in the place of a sampler: somebody else's, published ones, or those of an earlier run."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from modules.files.paths import InputPath
from modules.records import QuestionBatch
from modules.selection.base import FrameSampler
from modules.selection.even_spacing import spread_order
from modules.selection.policies import FramePolicy, PlackettLuce
from modules.selection.selection_files import read_selections
from modules.selection.selection_row import SelectionRow

_log = logging.getLogger(__name__)


class Precomputed(FrameSampler):
    """The frames that a file names for each question; the best of them where fewer are asked for.

    A frame that is no candidate is taken as the candidate nearest in the file, and counted; with the data module's
    ``selections`` key the candidates are the file's frames themselves and nothing moves.

    Args:
        path: ``.parquet``, ``.jsonl`` or published ``*_frameIdx.json``.
        sampler: which system of it, where it holds several.
    """

    reads_features = False

    def __init__(self, *, path: InputPath, sampler: str | None = None) -> None:
        super().__init__()
        self.rows: dict[str, SelectionRow] = {row.sample_id: row for row in read_selections(path, sampler)}
        self.path, self.num_moved = path, 0

    def forward(self, features: Tensor, mask: Tensor, timestamps_s: Tensor, queries: Tensor) -> FramePolicy:
        raise TypeError("precomputed selections belong to questions, not to features; call `policies`")

    def policies(self, batch: QuestionBatch) -> FramePolicy:
        logits = torch.full(batch.mask.shape, -torch.inf)
        for b, (question, candidates) in enumerate(zip(batch.questions, batch.candidates, strict=True)):
            row = self.rows.get(question.sample_id)
            if row is None:
                raise ValueError(f"{self.path} has no selection for question {question.sample_id}")
            chosen = torch.tensor(row.frame_ids)
            at = nearest(candidates.frame_ids, chosen)
            moved = int((candidates.frame_ids[at] != chosen).sum())
            if moved and not self.num_moved:
                _log.warning(
                    "question %s: %d of %d frames of %s are no candidates; the nearest are taken (data.selections "
                    "takes the file's own)",
                    question.sample_id,
                    moved,
                    len(chosen),
                    self.path,
                )
            self.num_moved += moved
            # two frames may have one nearest candidate: the better rank stays
            logits[b].scatter_reduce_(0, at, self._preference(row), "amax")
        mask = torch.isfinite(logits).to(batch.mask.device) & batch.mask
        return PlackettLuce(logits.to(batch.mask.device).masked_fill(~mask, 0.0), mask)

    def _preference(self, row: SelectionRow) -> Tensor:
        """float (K,), larger is better."""
        if row.ranks:
            return -torch.tensor(row.ranks, dtype=torch.float32)
        if row.scores:
            return torch.tensor(row.scores)
        # no order is known: whatever number is taken should lie spread out
        return -torch.tensor(spread_order(len(row.frame_ids))).argsort().float()


def nearest(grid: Tensor, frame_ids: Tensor) -> Tensor:
    """Index in an increasing grid (T,) of the entry nearest to each of frame_ids (K,)."""
    right = torch.searchsorted(grid, frame_ids).clamp(1, max(len(grid) - 1, 1))
    left = right - 1
    if len(grid) == 1:
        return torch.zeros_like(frame_ids)
    return torch.where(frame_ids - grid[left] <= grid[right] - frame_ids, left, right)
