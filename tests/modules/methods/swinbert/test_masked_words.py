"""Which words of a caption are hidden, and by what."""

from __future__ import annotations

import pytest
import torch

from modules.methods.swinbert.masked_words import IGNORED, mask_words

_START, _END, _PAD, _MASK = 1, 2, 0, 3
_WORDS = torch.arange(4, 60)


def hidden(ids: list[list[int]], lengths: list[int], seed: int = 0, share: float = 0.5, at_most: int = 45):
    return mask_words(
        *(torch.tensor(ids), torch.tensor(lengths)),
        mask_id=_MASK,
        word_ids=_WORDS,
        share=share,
        at_most=at_most,
        generator=torch.Generator().manual_seed(seed),
    )


def test_half_of_the_tokens_are_hidden_the_end_among_them_and_never_start_or_padding() -> None:
    ids = [[_START, 10, 11, 12, 13, 14, _END, _PAD], [_START, 10, _END, _PAD, _PAD, _PAD, _PAD, _PAD]]
    ends = 0
    for seed in range(60):
        _, targets = hidden(ids, [7, 3], seed)
        chosen = targets != IGNORED
        assert chosen.sum(1).tolist() == [4, 2]  # round(3.5) and round(1.5), as Python rounds
        assert not chosen[:, 0].any()
        assert not chosen[0, 7:].any()
        assert not chosen[1, 3:].any()
        assert targets[chosen].equal(torch.tensor(ids)[chosen])
        ends += int(chosen[0, 6])
    assert 25 < ends < 55  # 40 expected


def test_at_least_one_is_hidden_and_no_more_than_allowed() -> None:
    ids = [[_START, *range(10, 30), _END]]
    assert int((hidden(ids, [22], share=0.01)[1] != IGNORED).sum()) == 1
    assert int((hidden(ids, [22], share=1.0, at_most=5)[1] != IGNORED).sum()) == 5


def test_eight_of_ten_become_the_mask_one_another_word_and_one_stays() -> None:
    ids = [[_START, *[70] * 200, _END]] * 20
    seen, targets = hidden(ids, [202] * 20, share=1.0, at_most=500)
    chosen = targets == 70  # no word of the vocabulary that replaces
    shares = [(seen[chosen] == _MASK).float().mean(), (seen[chosen] == 70).float().mean()]
    assert shares[0].item() == pytest.approx(0.8, abs=0.03)
    assert shares[1].item() == pytest.approx(0.1, abs=0.02)
    assert bool(torch.isin(seen[chosen], torch.cat([_WORDS, torch.tensor([_MASK, 70])])).all())
    assert seen[targets == IGNORED].equal(torch.tensor(ids)[targets == IGNORED])
