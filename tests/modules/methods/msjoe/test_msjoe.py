"""The U-Net sampler: padding-exact, order-free in queries, and able to learn where a query's peak is."""

from __future__ import annotations

import pytest
import torch
from drawn_updates import found, learn_to_find

from modules.methods.msjoe.unet import UNetSampler
from modules.selection.temporal_unet import MaskedGroupNorm


def inputs(lengths: list[int], num_queries: int = 3, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    mask = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
    features = torch.randn(len(lengths), longest, 16, generator=generator) * mask[..., None]
    queries = torch.randn(len(lengths), num_queries, 16, generator=generator)
    return features, mask, torch.zeros(mask.shape), queries


def awake(**arguments) -> UNetSampler:
    """A sampler whose head is not zero, so that its scores say something."""
    torch.manual_seed(0)
    sampler = UNetSampler(**{"channels": (16, 32, 32), **arguments})
    torch.nn.init.normal_(sampler.head.weight)
    return sampler


def test_paper_size_is_about_two_million_parameters() -> None:
    size = sum(p.numel() for p in UNetSampler().parameters())
    assert 1.5e6 < size < 3.0e6, size


def test_it_starts_uniform() -> None:
    features, mask, times, queries = inputs([37, 20])
    entropy = UNetSampler()(features, mask, times, queries).entropy()
    torch.testing.assert_close(entropy, torch.tensor([37.0, 20.0]).log())


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 31])
def test_padding_is_exact(length: int) -> None:
    sampler = awake()
    features, mask, times, queries = inputs([length, 53])
    together = sampler.scores(features, mask, times, queries)[0, :length]
    alone = sampler.scores(features[:1, :length], mask[:1, :length], times[:1, :length], queries[:1])[0]
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_the_order_of_queries_does_not_matter_but_the_queries_do() -> None:
    sampler = awake()
    features, mask, times, queries = inputs([40])
    base = sampler.scores(features, mask, times, queries)
    torch.testing.assert_close(base, sampler.scores(features, mask, times, queries[:, [2, 0, 1]]), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(base, sampler.scores(features, mask, times, queries[:, :2]), atol=1e-4)


def test_an_absent_query_is_one_that_is_not_there() -> None:
    sampler = awake()
    features, mask, times, queries = inputs([40])
    padded = torch.cat([queries, torch.zeros(1, 1, 16)], 1)
    torch.testing.assert_close(
        sampler.scores(features, mask, times, queries),
        sampler.scores(features, mask, times, padded),
        atol=1e-5,
        rtol=1e-4,
    )
    with pytest.raises(ValueError, match="max_queries=4"):
        sampler.scores(features, mask, times, torch.ones(1, 5, 16))


def test_absent_rows_hold_the_mean_of_the_others() -> None:
    sampler = awake()
    features, mask, _, queries = inputs([12], num_queries=2)
    channels = sampler.channels(features, mask, queries)
    cosine, presence = channels[0, :4], channels[0, 8:]
    torch.testing.assert_close(cosine[2], cosine[:2].mean(0))
    torch.testing.assert_close(cosine[3], cosine[:2].mean(0))
    assert presence[:, 0].tolist() == [1, 1, 0, 0]


def test_masked_group_norm_is_group_norm_without_padding() -> None:
    norm = MaskedGroupNorm(2, 8)
    x = torch.randn(2, 8, 10)
    reference = torch.nn.functional.group_norm(x, 2)
    torch.testing.assert_close(norm(x, torch.ones(2, 1, 10)), reference, atol=1e-5, rtol=1e-5)
    mask = (torch.arange(10) < 6).float()[None, None].expand(2, 1, 10)
    torch.testing.assert_close(
        norm(x, mask)[..., :6], torch.nn.functional.group_norm(x[..., :6], 2), atol=1e-5, rtol=1e-5
    )


def test_it_learns_to_find_what_comes_after_the_peak() -> None:
    """The evidence lies five frames behind the frame a query fits: similarity alone cannot find it, the U-Net can."""
    torch.manual_seed(0)
    sampler = UNetSampler(channels=(16, 32))

    def world(seed: int):
        generator = torch.Generator().manual_seed(seed)
        features, mask, times, queries = inputs([64] * 16, num_queries=1, seed=seed)
        at = torch.randint(0, 58, (16,), generator=generator)
        features[torch.arange(16), at] = queries[:, 0] * 1.5
        return (features, mask, times, queries), at + 5

    learn_to_find(sampler, world, num_updates=150, learning_rate=3e-3)
    assert found(sampler, world, num_frames=4) > 0.8


def test_a_nine_hour_video_fits() -> None:
    sampler = UNetSampler()
    features, queries = torch.randn(1, 32_550, 8), torch.randn(1, 4, 8)
    with torch.no_grad():
        scores = sampler.scores(features, torch.ones(1, 32_550, dtype=torch.bool), torch.zeros(1, 32_550), queries)
    assert scores.shape == (1, 32_550)
