"""Draws are of the reported distribution and a function of seed and position, whatever a checkpoint asks for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from modules.mllms.base import FrameTokens, Row
from modules.mllms.drawing import TokenDraw, inverse_cdf, uniforms_of
from modules.mllms.qwen_vl import Qwen25VL
from modules.records import VideoQuestion
from modules.small_stack.blank_families import write_blank_family

CPU = torch.device("cpu")
QUESTION = VideoQuestion("d", "s", "q", "v", 125.0, "What colour is the star?", ("red", "green", "blue", "white"), 1)
SETTINGS = {
    "repetition_penalty": 1.5,
    "temperature": 0.1,
    "top_k": 1,
    "top_p": 0.01,
    "min_p": 0.5,
    "do_sample": True,
    "min_length": 500,
    "min_new_tokens": 3,
    "no_repeat_ngram_size": 2,
    "forced_eos_token_id": 40,
    "suppress_tokens": list(range(60, 90)),
    "begin_suppress_tokens": list(range(90, 250)),
    "bad_words_ids": [[33]],
    "num_beams": 2,
    "exponential_decay_length_penalty": [1, 1.5],
    "sequence_bias": [[[50], 20.0]],
    "max_length": 3,
    "renormalize_logits": True,
}


def chance(seen: Tensor, due: Tensor) -> float:
    """P-value of Pearson's chi-square: how likely counts are at least so far from what is due."""
    distance = ((seen - due) ** 2 / due).sum().double()
    return float(torch.special.gammaincc(torch.tensor((len(due) - 1) / 2).double(), distance / 2))


def picked(logits: Tensor, seeds: list[int], num_tokens: int = 1, temperature: float = 1.0) -> Tensor:
    """Tokens (R, L) drawn of the same logits throughout."""
    draw = TokenDraw(lambda given: given / temperature, uniforms_of(seeds, num_tokens, CPU))
    rows = logits.expand(len(seeds), -1)
    return torch.stack([draw(torch.zeros(0), rows).argmax(-1) for _ in range(num_tokens)], 1)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("size", [4, 1500])
def test_tokens_are_drawn_as_often_as_their_probabilities_say(size: int, temperature: float) -> None:
    logits = 2 * torch.randn(size, generator=torch.Generator().manual_seed(0))
    logits[1] = -torch.inf
    counts = torch.bincount(picked(logits, list(range(4000)), 5, temperature).flatten(), minlength=size).double()
    expected = (logits.double() / temperature).softmax(-1) * counts.sum()
    assert counts[1] == 0
    rare = expected < 8  # chi-square wants some of each, so the rare ones count as one
    seen, due = (torch.cat([of[~rare], of[rare].sum()[None]]) for of in (counts, expected))
    assert chance(seen[due > 0], due[due > 0]) > 1e-3


def test_the_distribution_is_inverted_exactly_at_every_token() -> None:
    """On a fine grid of uniform numbers each token gets its share, also beyond the first block and next to nothing."""
    probabilities = torch.zeros(1300)
    probabilities[[0, 1, 511, 512, 700, 1299]] = torch.tensor([0.25, 0.125, 0.125, 0.0625, 0.40625, 0.03125])
    grid = (torch.arange(4096, dtype=torch.float64) + 0.5) / 4096
    shares = torch.bincount(inverse_cdf(probabilities.expand(4096, -1), grid), minlength=1300) / 4096
    assert torch.equal(shares, probabilities)
    ends = torch.tensor([2.0**-49, 1 - 2.0**-49], dtype=torch.float64)
    assert inverse_cdf(probabilities.expand(2, -1), ends).tolist() == [0, 1299]


def test_a_token_that_cannot_be_is_never_drawn_and_a_certain_one_always() -> None:
    logits = torch.full((700,), -torch.inf)
    logits[600] = 0.0
    assert (picked(logits, list(range(500))) == 600).all()


def test_uniform_numbers_are_uniform_and_independent_over_tokens_rows_and_seeds() -> None:
    numbers = uniforms_of(list(range(300)), 200, CPU).numpy()
    assert 0 < numbers.min() < numbers.max() < 1
    counts = torch.from_numpy(np.histogram(numbers, bins=100, range=(0, 1))[0])
    assert chance(counts, torch.full((100,), numbers.size / 100)) > 1e-3
    for one, other in (
        (numbers[:, :-1], numbers[:, 1:]),  # tokens
        (numbers[:-1], numbers[1:]),  # rows of consecutive seeds
        (numbers[:-1, 1:], numbers[1:, :-1]),  # and shifted by one: no row's stream is another's, later
        (numbers[:256], uniforms_of([2**40 + s for s in range(256)], 200, CPU).numpy()),
    ):
        counts = np.histogram2d(one.flatten(), other.flatten(), bins=16, range=[(0, 1), (0, 1)])[0].flatten()
        assert chance(torch.from_numpy(counts), torch.full((256,), one.size / 256)) > 1e-3
        assert abs(np.corrcoef(one.flatten(), other.flatten())[0, 1]) < 4 / np.sqrt(one.size)
    bits = np.floor(numbers * 2.0**48).astype(np.int64)
    assert all(abs((bits >> b & 1).mean() - 0.5) < 4 * 0.5 / np.sqrt(bits.size) for b in range(48))
    assert len(np.unique(bits)) == bits.size


def test_the_hash_is_splitmix64() -> None:
    """Against the same in Python's whole numbers."""

    def mixed(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)

    seeds = [0, 1, 2**56 - 1, 123456789, 2**64 - 1]
    expected = [
        [((mixed((mixed(s) + n * 0x9E3779B97F4A7C15) % 2**64) >> 16) + 0.5) / 2**48 for n in (1, 2, 3)] for s in seeds
    ]
    assert uniforms_of(seeds, 3, CPU).tolist() == expected


def test_a_draw_depends_on_seed_and_position_alone() -> None:
    logits = torch.randn(900, generator=torch.Generator().manual_seed(1))
    whole = picked(logits, [7, 8, 9], 12)
    assert torch.equal(picked(logits, [9, 7], 12), whole[[2, 0]])
    assert torch.equal(picked(logits, [8], 4), whole[1:2, :4])
    assert not torch.equal(whole[0], whole[1])


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """A checkpoint, and the same one whose generation_config.json asks for everything that there is."""
    plain = tmp_path_factory.mktemp("plain") / "m"
    write_blank_family("qwen2_5_vl", plain)
    loaded = plain.parent / "loaded"
    shutil.copytree(plain, loaded)
    file = loaded / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **SETTINGS}))
    return plain, loaded


@pytest.mark.parametrize("temperature", [0.0, 1.0, 0.7])
def test_what_is_drawn_is_what_is_credited_whatever_the_checkpoint_asks_for(folders, temperature: float) -> None:
    frames = torch.randint(0, 255, (2, 3, 56, 84), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    answers = []
    for folder in folders:
        mllm = Qwen25VL(path=str(folder))
        shown = FrameTokens(mllm.encode_frames(frames), torch.tensor([0.0, 60.0]))
        rows = [Row(QUESTION, shown, torch.arange(2))] * 6
        answer = mllm.generate(rows, 12, temperature, list(range(6)))
        credited = mllm.log_probs(rows, answer.token_ids, temperature or 1.0)
        for n, ids in enumerate(answer.token_ids):
            torch.testing.assert_close(credited[n, : len(ids)], answer.log_probs[n], atol=1e-4, rtol=1e-4)
        if temperature == 0:
            for n, ids in enumerate(answer.token_ids):
                assert torch.equal(ids, most_probable(mllm, rows[n], len(ids)))
        answers.append(answer)
    assert "penalties" in mllm.decoding(temperature)
    assert mllm.model.generation_config.repetition_penalty == 1.5  # the checkpoint's own is kept for saving it again
    assert all(torch.equal(a, b) for a, b in zip(answers[0].token_ids, answers[1].token_ids, strict=True))


def most_probable(mllm: Qwen25VL, row: Row, num_tokens: int) -> Tensor:
    """Token after token by whole forwards."""
    ids: list[int] = []
    for _ in range(num_tokens):
        logits = mllm.model(**mllm.inputs([row], [ids])).logits[0, -1]
        logits[[mllm.model.config.video_token_id, mllm.model.config.image_token_id]] = -torch.inf
        ids.append(int(logits.argmax()))
    return torch.tensor(ids)
