"""Bin-max and AKS, against cases done by hand and the properties that published selections have."""

from __future__ import annotations

import pytest
import torch

from modules.methods.training_free.aks import AKS
from modules.methods.training_free.bin_max import BinMax
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.top_k import TopK
from modules.methods.training_free.uniform import Uniform


def naive_bin_max(scores: list[float], num_frames: int) -> list[int]:
    """Frame by frame: nearest centre, lower on a tie."""
    length = len(scores)
    size = min(num_frames, length)
    centres = [length - 1] if size == 1 else [round(i * (length - 1) / (size - 1)) for i in range(size)]
    bins: dict[int, list[int]] = {}
    for t in range(length):
        nearest = min(range(size), key=lambda c: (abs(centres[c] - t), c))
        bins.setdefault(nearest, []).append(t)
    return sorted(max(frames, key=lambda t: (scores[t], -t)) for frames in bins.values())


@pytest.mark.parametrize(("length", "num_frames"), [(10, 3), (64, 8), (65, 64), (7, 7), (5, 9), (600, 64), (4, 1)])
def test_bin_max_is_the_best_of_each_bin(length: int, num_frames: int) -> None:
    scores = torch.rand(length, generator=torch.Generator().manual_seed(length))
    chosen = BinMax().select(RatedFrames.of(scores), num_frames)
    assert sorted(chosen.tolist()) == naive_bin_max(scores.tolist(), num_frames)
    assert len(set(chosen.tolist())) == min(length, num_frames)


def test_aks_by_hand() -> None:
    """One sharp peak: not split, the best K. Flat but for noise: split to the end, K / 8 of each eighth."""
    peak = torch.zeros(64)
    peak[10:18] = torch.linspace(0.8, 1.0, 8)
    assert sorted(AKS().select(RatedFrames.of(peak), 8).tolist()) == list(range(10, 18))
    flat = 0.5 + 0.01 * torch.rand(64, generator=torch.Generator().manual_seed(0))
    flat[0], flat[63] = 0.0, 1.0
    chosen = torch.from_numpy(AKS().select(RatedFrames.of(flat), 16))
    assert [int(((chosen >= 8 * n) & (chosen < 8 * n + 8)).sum()) for n in range(8)] == [2] * 8


def test_aks_fills_up_and_survives_equal_scores() -> None:
    scores = torch.rand(50, generator=torch.Generator().manual_seed(1))
    for num_frames in (3, 5, 7, 50, 80):
        chosen = AKS(threshold=0.9).select(RatedFrames.of(scores), num_frames).tolist()
        assert len(set(chosen)) == len(chosen) == min(num_frames, 50)
    assert AKS().select(RatedFrames.of(torch.ones(8)), 4).tolist() == [1, 3, 5, 7]


def test_as_samplers_they_change_the_best_frames_and_not_the_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(40)[None] < torch.tensor([[40], [25], [3]])
    features = torch.randn(3, 40, 8, generator=generator) * mask[..., None]
    queries = torch.randn(3, 1, 8, generator=generator)
    for sampler in (BinMax(), AKS()):
        policy = sampler(features, mask, torch.zeros(3, 40), queries)
        index = policy.mode(8).candidate_index[:, 0]
        for b, length in enumerate((40, 25, 3)):
            real = index[b][index[b] >= 0]
            assert len(real.unique()) == min(8, length)
            assert bool((real < length).all())
        plain = sampler.scorer(features, mask, torch.zeros(3, 40), queries)
        torch.testing.assert_close(policy.entropy(), plain.entropy())
    with pytest.raises(ValueError, match="Uniform scores no frames"):
        BinMax(scorer=Uniform())(features, mask, torch.zeros(3, 40), queries)


@pytest.mark.parametrize(("width", "num_queries"), [(0, 1), (4, 0)])
def test_frames_are_not_ranked_by_nothing(width: int, num_queries: int) -> None:
    nothing = (torch.ones(1, 6, width), torch.ones(1, 6, dtype=torch.bool), torch.ones(1, 6))
    with pytest.raises(ValueError, match=r"data\.encoder has to be one of images and texts"):
        TopK()(*nothing, torch.ones(1, num_queries, width))
    assert Uniform()(*nothing, torch.ones(1, num_queries, width)).mode(2).candidate_index.tolist() == [[[1, 4]]]
