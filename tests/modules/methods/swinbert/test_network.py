"""SwinBERT's network: attention as in the paper, decoding with kept keys, probabilities of what was written."""

from __future__ import annotations

import itertools

import pytest
import torch
from swinbert_parts import RecomputedNextWords, clips, read_at_once, small_network, whole_attention

from modules.methods.swinbert.caption_search import greedy, search_beams, write_captions
from modules.methods.swinbert.text_sight import causal, words_and_masks
from modules.methods.swinbert.token_grid import TokenGrid
from modules.methods.swinbert.video_masks import AdditiveMask, BinaryMask, FullMask, IdentityMask, LogMask, VideoMask

_MASKS = [FullMask(), IdentityMask(), AdditiveMask(), LogMask(initial_logit=None), BinaryMask(budget_frac=0.3)]


@pytest.mark.parametrize("mask", _MASKS, ids=lambda m: m.kind)
def test_reading_video_first_gives_what_one_pass_over_the_whole_matrix_gives(mask: VideoMask) -> None:
    network, frames = small_network(mask), clips(2)
    ids = network.tokenize(["a red ball", "the star, then a ring"], 16)[0]
    expected = read_at_once(network, frames, ids)
    keys = network.read(frames)
    states = network.encoder.read_text(ids, torch.arange(ids.shape[1]), keys, causal(ids.shape[1]), keys.num_tokens)
    torch.testing.assert_close(states, expected[:, : ids.shape[1]], atol=1e-5, rtol=1e-4)


def test_the_matrix_is_the_papers() -> None:
    network = small_network(FullMask())
    sees = whole_attention(network, 2, TokenGrid(1, 1, 3)) == 0
    expected = [
        [1, 0, 1, 1, 1],  # text: itself and before, all of the video
        [1, 1, 1, 1, 1],
        [0, 0, 1, 1, 1],  # video: no text
        [0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1],
    ]
    assert sees.int().tolist() == expected


def test_a_mask_token_sees_the_words_before_its_place_and_itself() -> None:
    expected = [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 1, 0],
        [1, 0, 0, 1],
    ]
    assert words_and_masks(2).int().tolist() == expected


def test_no_word_before_it_changes_with_a_word_and_no_video_token_with_text() -> None:
    network, frames = small_network(), clips(1)
    ids = network.tokenize(["a red ball moves left"], 16)[0]
    other = ids.clone()
    other[:, 4] = network.tokenizer.convert_tokens_to_ids("star")
    one, two = read_at_once(network, frames, ids), read_at_once(network, frames, other)
    torch.testing.assert_close(one[:, :4], two[:, :4])
    assert not torch.allclose(one[:, 4:7], two[:, 4:7])
    torch.testing.assert_close(one[:, ids.shape[1] :], two[:, ids.shape[1] :])


@pytest.mark.parametrize("seed", range(4))
def test_greedy_with_kept_keys_writes_what_recomputing_everything_writes(seed: int) -> None:
    network, frames = small_network(seed=seed), clips(3, seed=seed)
    ends = {"start_id": network.start_id, "end_id": network.end_id, "max_words": 8}
    slow = write_captions(RecomputedNextWords(network, frames), 3, pick=greedy, **ends)
    fast = write_captions(network.next_words(network.read(frames), 8), 3, pick=greedy, **ends)
    assert [i.tolist() for i in fast.ids] == [i.tolist() for i in slow.ids]
    for ours, theirs in zip(fast.log_probs, slow.log_probs, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_beams_with_kept_keys_write_what_recomputing_everything_writes(seed: int) -> None:
    network, frames = small_network(seed=seed), clips(2, seed=seed)
    ends = {"start_id": network.start_id, "end_id": network.end_id, "max_words": 6}
    slow = search_beams(RecomputedNextWords(network, frames.repeat_interleave(3, 0)), 2, num_beams=3, **ends)
    fast = network.write(network.read(frames), max_words=6, num_beams=3)
    assert [i.tolist() for i in fast] == [i.tolist() for i in slow]


def test_words_that_are_not_reordered_with_their_beams_would_be_found_out() -> None:
    """The test above can fail: beams do change places in it."""
    network, frames = small_network(seed=1), clips(2, seed=1)
    moved = []

    class Watched(RecomputedNextWords):
        def reorder(self, rows: torch.Tensor) -> None:
            moved.append(bool((rows != torch.arange(len(rows))).any()))
            super().reorder(rows)

    ends = {"start_id": network.start_id, "end_id": network.end_id, "max_words": 6}
    search_beams(Watched(network, frames.repeat_interleave(3, 0)), 2, num_beams=3, **ends)
    assert any(moved)


def test_enough_beams_find_the_best_of_all_captions() -> None:
    """Against every caption of up to three tokens, scored one by one."""
    network, frames = small_network(seed=3), clips(1, seed=3)
    vocabulary, end = len(network.tokenizer), network.end_id
    words = [n for n in range(vocabulary) if n != end]
    captions = [
        torch.tensor([*start, last])
        for length in (1, 2)
        for start in itertools.product(words, repeat=length - 1)
        for last in ([end] if length < 2 else range(vocabulary))
    ]
    sums = network.log_probs(network.read(frames).repeated(len(captions)), captions).sum(1)
    for penalty in (0.0, 1.0, 2.0):
        scores = sums / torch.tensor([float(len(c)) for c in captions]) ** penalty
        best = captions[int(scores.argmax())]
        found = network.write(network.read(frames), max_words=2, num_beams=vocabulary, length_penalty=penalty)[0]
        assert found.tolist() == best.tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_probability_of_a_drawn_caption_is_what_it_was_drawn_with(temperature: float) -> None:
    network, frames = small_network(), clips(2)
    keys = network.read(frames).repeated(3)
    with torch.no_grad():
        drawn = network.draw(
            keys, max_words=7, generators=[torch.Generator().manual_seed(n) for n in range(6)], temperature=temperature
        )
        found = network.log_probs(keys, drawn.ids, temperature)
    assert len({tuple(i.tolist()) for i in drawn.ids}) > 3
    for row, then in zip(found, drawn.log_probs, strict=True):
        torch.testing.assert_close(row[: len(then)], then, atol=1e-4, rtol=1e-4)
        assert bool((row[len(then) :] == 0).all())


def test_the_captions_gradient_reaches_backbone_mask_and_words() -> None:
    network = small_network()
    loss = -network.log_probs(network.read(clips(2)), [torch.tensor([5, 6]), torch.tensor([7, network.end_id])]).sum()
    loss.backward()
    for parameter in (network.backbone.patch_embed.proj.weight, network.mask.logits, network.encoder.head.bias):
        assert parameter.grad is not None
        assert bool((parameter.grad != 0).any())


def test_in_bfloat16_it_writes_and_learns() -> None:
    network = small_network().to(torch.bfloat16)
    keys = network.read(clips(2))
    assert len(network.write(keys, max_words=4)) == 2
    network.log_probs(keys, [torch.tensor([5, 6])] * 2).sum().backward()
    assert network.mask.logits.grad is not None
    assert bool(network.mask.logits.grad.isfinite().all())


def test_more_or_fewer_frames_are_read_and_another_size_is_refused_with_a_sentence() -> None:
    network = small_network(num_frames=4)
    for num_frames in (2, 3, 4, 8):
        keys = network.read(clips(1, num_frames))
        assert keys.num_tokens == network.grid(num_frames).num_tokens
    with pytest.raises(ValueError, match=r"2 x 2 x 2 video tokens .* give 2 x 4 x 4"):
        network.read(clips(1, 4, size_px=32))
    small_network(FullMask()).read(clips(1, 4, size_px=32))  # nothing learnt, nothing tied to a size
