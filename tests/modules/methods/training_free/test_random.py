"""Random: the same draw for the same question whoever is beside it, another for another seed, uniform on the whole."""

from __future__ import annotations

import torch

from modules.methods.training_free.random import Random
from modules.records import QuestionBatch, VideoQuestion


def batch(lengths: list[int], first: int = 0) -> QuestionBatch:
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    questions = [VideoQuestion("d", "s", f"q{first + n}", "v", 8.0, "?") for n in range(len(lengths))]
    empty = torch.empty(len(lengths), max(lengths), 0)
    return QuestionBatch(questions, [], empty, mask, torch.zeros(mask.shape), torch.empty(len(lengths), 0, 0))


def chosen(sampler: Random, asked: QuestionBatch, num_frames: int) -> list[list[int]]:
    return sampler.policies(asked).mode(num_frames).candidate_index[:, 0].tolist()


def test_a_draw_belongs_to_seed_and_question() -> None:
    both = chosen(Random(), batch([30, 12]), 4)
    assert both == chosen(Random(), batch([30, 12]), 4)
    assert both[1] == chosen(Random(), batch([12], first=1), 4)[0]
    assert both != chosen(Random(seed=1), batch([30, 12]), 4)
    assert all(len(set(row)) == 4 for row in both)
    assert max(both[1]) < 12


def test_fewer_candidates_than_frames() -> None:
    (row,) = chosen(Random(), batch([2]), 4)
    assert sorted(row) == [-1, -1, 0, 1]


def test_every_candidate_is_as_likely() -> None:
    rows = torch.tensor(chosen(Random(), batch([8] * 4000), 2))
    share = torch.bincount(rows.flatten(), minlength=8) / 4000
    assert (share - 0.25).abs().max() < 4 * (0.25 * 0.75 / 4000) ** 0.5
