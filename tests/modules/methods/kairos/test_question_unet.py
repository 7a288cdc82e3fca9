"""Our own sampler: exact at padding, moved by what is asked, and able to look to different sides of what is named."""

from __future__ import annotations

import pytest
import torch
from drawn_updates import found, learn_to_find
from torch import Tensor

from modules.methods.kairos.question_unet import QuestionUNet

_DIM = 16


def inputs(lengths: list[int], seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    mask = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
    features = torch.randn(len(lengths), longest, _DIM, generator=generator) * mask[..., None]
    times = torch.arange(longest).float().expand(len(lengths), -1) * mask
    return features, mask, times, torch.randn(len(lengths), 1, _DIM, generator=generator)


def awake() -> QuestionUNet:
    """A sampler whose head and conditions are not zero, so that its scores say something."""
    torch.manual_seed(0)
    sampler = QuestionUNet(dim=_DIM, content_channels=4, channels=(16, 32))
    torch.nn.init.normal_(sampler.head.weight)
    for name, parameter in sampler.named_parameters():
        if ".films." in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return sampler


def test_it_starts_uniform_or_as_retrieval() -> None:
    features, mask, times, queries = inputs([37, 20])
    entropy = QuestionUNet(dim=_DIM)(features, mask, times, queries).entropy()
    torch.testing.assert_close(entropy, torch.tensor([37.0, 20.0]).log())
    sampler = QuestionUNet(dim=_DIM, similarity_init=1.0)
    chosen = sampler(features, mask, times, queries).mode(4).candidate_index[:, 0]
    cosine = torch.nn.functional.cosine_similarity(features, queries, dim=-1).masked_fill(~mask, -2)
    assert [set(row.tolist()) for row in chosen] == [set(row.tolist()) for row in cosine.topk(4).indices]


@pytest.mark.parametrize("length", [1, 2, 7, 8, 31])
def test_padding_is_exact(length: int) -> None:
    sampler = awake()
    features, mask, times, queries = inputs([length, 53])
    together = sampler.scores(features, mask, times, queries)[0, :length]
    alone = sampler.scores(features[:1, :length], mask[:1, :length], times[:1, :length], queries[:1])[0]
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_content_place_and_question_count_where_the_similarity_is_the_same() -> None:
    sampler = awake()
    features, mask, times, queries = inputs([40])
    base = sampler.scores(features, mask, times, queries)
    question = torch.nn.functional.normalize(queries, dim=-1)
    along = (features * question).sum(-1, keepdim=True) * question
    turned = along - (features - along)  # as long, and as near to the question
    assert not torch.allclose(base, sampler.scores(turned, mask, times, queries), atol=1e-3)
    assert not torch.allclose(base, sampler.scores(features, mask, times**2, queries), atol=1e-3)


def test_it_has_to_be_given_texts() -> None:
    features, mask, times, _ = inputs([10])
    with pytest.raises(ValueError, match="compares frames with texts"):
        QuestionUNet(dim=_DIM).scores(features, mask, times, torch.zeros(1, 0, _DIM))


def test_it_learns_after_and_before_from_right_and_wrong() -> None:
    """The question names one frame and says on which side of it the evidence lies: MSJoE's net sees no such thing."""
    torch.manual_seed(0)
    sampler = QuestionUNet(dim=_DIM, content_channels=4, channels=(16, 32))

    def world(seed: int) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
        generator = torch.Generator().manual_seed(seed)
        features, mask, times, queries = inputs([32] * 16, seed=seed)
        at = torch.randint(6, 26, (16,), generator=generator)
        side = torch.randint(0, 2, (16,), generator=generator) * 2 - 1
        queries[:, 0, -1] = 4.0 * side
        features[..., -1] = 0  # what says the side is in no frame
        features[torch.arange(16), at, :-1] = queries[:, 0, :-1] * 1.5
        return (features, mask, times, queries), at + 5 * side

    learn_to_find(sampler, world, num_updates=90, learning_rate=6e-3)
    assert found(sampler, world, num_frames=1) > 0.8
