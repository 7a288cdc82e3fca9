"""The temporal agent against a dense reference, and the facts of specs: window rows, time code, official weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from modules.methods.training_free.top_k import TopK
from modules.methods.training_free.uniform import Uniform
from modules.methods.tspo.agent import TSPOSampler, time_code, window_attention


def dense_attention(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    """T x T scores, everything outside the window filled with -1e6: the straightforward way."""
    length = query.shape[2]
    allowed = torch.zeros(length, length, dtype=torch.bool)
    for j in range(length):
        for k in range(j - window // 2, j - window // 2 + window):
            if 0 <= k < length:
                allowed[j, k] = True
    logits = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return logits.masked_fill(~allowed, -1e6).softmax(-1) @ value


@pytest.mark.parametrize(("length", "window"), [(5, 12), (30, 12), (128, 12), (64, 7), (3, 1)])
def test_banded_equals_dense_in_value_and_gradient(length: int, window: int) -> None:
    inputs = [torch.randn(2, 2, length, 4, requires_grad=True) for _ in range(3)]
    banded = window_attention(*inputs, torch.tensor([length, length]), window)
    dense = dense_attention(*inputs, window)
    torch.testing.assert_close(banded, dense, atol=1e-5, rtol=1e-5)
    weight = torch.randn_like(dense)
    ours, theirs = (torch.autograd.grad((out * weight).sum(), inputs) for out in (banded, dense))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = TSPOSampler(dim=32, num_heads=4, init_std=0.2)
    inputs = (torch.randn(2, 100, 32), torch.arange(100)[None] < torch.tensor([[100], [70]]), torch.zeros(2, 100))
    query, weight = torch.randn(2, 1, 32), torch.randn(2, 100)
    results = []
    for frames_per_chunk in (2048, 33, 7, 1):
        monkeypatch.setattr("modules.methods.tspo.agent._FRAMES_PER_CHUNK", frames_per_chunk)
        scores = agent.scores(*inputs, query)
        gradient = torch.autograd.grad((scores * weight * inputs[1]).sum(), list(agent.parameters()))
        results.append([scores[inputs[1]], *gradient])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("row", "first", "last"), [(0, 0, 5), (3, 0, 8), (15, 9, 20), (29, 23, 29)])
def test_window_rows(row: int, first: int, last: int) -> None:
    # one-hot values read the weights of a row back
    value = torch.eye(30)[None, None]
    weights = window_attention(torch.zeros(1, 1, 30, 4), torch.zeros(1, 1, 30, 4), value, torch.tensor([30]), 12)
    seen = torch.nonzero(weights[0, 0, row] > 1e-9).flatten()
    assert (seen.min().item(), seen.max().item()) == (first, last)


def test_time_code() -> None:
    code = time_code(torch.tensor([100, 50]), 0, 100, 768)
    torch.testing.assert_close(code.norm(dim=-1), torch.full((2, 100), math.sqrt(384)))
    assert (code[:, 0, 0::2] == 0).all()
    assert (code[:, 0, 1::2] == 1).all()
    assert (code[0, 0] - code[0, 99]).norm().item() == pytest.approx(4.48, abs=0.05)
    torch.testing.assert_close(code[0, 50], code[1, 25])  # the same share of either video


def test_untrained_agent_ranks_like_clip() -> None:
    features, queries = torch.randn(2, 40, 64), torch.randn(2, 1, 64)
    mask, times = torch.ones(2, 40, dtype=torch.bool), torch.zeros(2, 40)
    agent = TSPOSampler(dim=64)
    torch.nn.init.zeros_(agent.mlp[2].weight)
    clip = TopK().scores(features, mask, times, queries)
    torch.testing.assert_close(agent.scores(features, mask, times, queries), 2 * clip, atol=1e-4, rtol=1e-4)
    logits = agent(features, mask, times, queries).logits
    torch.testing.assert_close(logits, 2 * clip / 0.025, atol=4e-3, rtol=1e-3)


def test_padding_changes_nothing() -> None:
    agent = TSPOSampler(dim=32, num_heads=4, init_std=0.2)
    features, query = torch.randn(1, 20, 32), torch.randn(1, 1, 32)
    alone = agent.scores(features, torch.ones(1, 20, dtype=torch.bool), torch.zeros(1, 20), query)
    padded = torch.cat([torch.nn.functional.pad(features, (0, 0, 0, 13)), torch.randn(1, 33, 32)])
    mask = torch.arange(33)[None] < torch.tensor([[20], [33]])
    both = agent.scores(padded, mask, torch.zeros(2, 33), torch.cat([query, query]))
    torch.testing.assert_close(both[:1, :20], alone, atol=1e-5, rtol=1e-5)


def test_every_parameter_learns_but_the_key_bias() -> None:
    agent = TSPOSampler(dim=32, num_heads=4)
    mask = torch.ones(2, 50, dtype=torch.bool)
    policy = agent(torch.randn(2, 50, 32), mask, torch.zeros(2, 50), torch.randn(2, 1, 32))
    policy.log_prob(policy.sample(4, 3).candidate_index).square().sum().backward()
    size = {name: p.grad.abs().max().item() for name, p in agent.named_parameters()}
    assert size.pop("key.bias") < 1e-4  # softmax does not see a shift of all its inputs
    assert all(value > 1e-4 for value in size.values()), size


def test_scores_are_float32_under_autocast() -> None:
    agent = TSPOSampler(dim=32, num_heads=4)
    with torch.autocast("cpu", torch.bfloat16):
        scores = agent.scores(
            torch.randn(1, 9, 32), torch.ones(1, 9, dtype=torch.bool), torch.zeros(1, 9), torch.randn(1, 1, 32)
        )
    assert scores.dtype == torch.float32


@pytest.mark.parametrize("prefix", ["selector.", "multiModal_align.", ""])
def test_official_weights_round_trip(prefix: str) -> None:
    ours = TSPOSampler(dim=64)
    official = ours.official_state_dict(prefix)
    assert len(official) == 12
    other = TSPOSampler(dim=64)
    other.load_official(official | {"visual_projection.weight": torch.zeros(1)})
    for a, b in zip(ours.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_official_size() -> None:
    official = TSPOSampler().official_state_dict()
    assert sum(t.numel() for t in official.values()) == 3_543_552
    with pytest.raises(ValueError, match=r"query.weight is \(64, 64\)"):
        TSPOSampler().load_official(TSPOSampler(dim=64).official_state_dict())
    with pytest.raises(ValueError, match=r"mlp\.0\.weight is missing"):
        TSPOSampler(dim=64).load_official({})


def test_wrong_width_is_named() -> None:
    with pytest.raises(ValueError, match="width 16"):
        TSPOSampler(dim=64)(
            torch.zeros(1, 2, 16), torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 2), torch.zeros(1, 1, 16)
        )


def test_uniform_is_even_and_shrinks() -> None:
    mask = torch.arange(600)[None] < torch.tensor([[600], [5]])
    picks = Uniform()(torch.zeros(2, 600, 4), mask, torch.zeros(2, 600), torch.zeros(2, 1, 4)).mode(8).candidate_index
    assert picks[0, 0].tolist() == [37, 112, 187, 262, 337, 412, 487, 562]
    assert picks[1, 0].tolist() == [0, 1, 2, 3, 4, -1, -1, -1]


def test_it_finds_planted_evidence() -> None:
    """specs/tspo.md 9.5 (13): right iff enough frames lie in the first tenth; G = 12, K = 6, T = 128."""
    from modules.rl.advantages import group_advantages
    from modules.rl.grpo import GRPO, grpo_loss

    torch.manual_seed(0)
    agent, config = TSPOSampler(dim=64), GRPO(num_generations=12, loss_type="grpo")
    optimizer = torch.optim.AdamW(agent.parameters(), lr=3e-3, weight_decay=0.0)
    scene = torch.randn(1, 64) * 0.6  # frames of one video are alike, so their scores start close together
    features, query = scene + 0.4 * torch.randn(1, 128, 64), torch.randn(1, 1, 64)
    mask, times = torch.ones(1, 128, dtype=torch.bool), torch.zeros(1, 128)
    history = []
    for step in range(80):
        policy = agent(features, mask, times, query)
        selection = policy.sample(6, 12, torch.Generator().manual_seed(step))
        reward = (selection.candidate_index < 13).sum(-1).float().clamp(max=4) / 4
        history.append(reward.mean().item())
        advantages = group_advantages(reward).flatten()
        log_probs, old = policy.log_prob(selection.candidate_index)[0], selection.log_probs[0]
        loss = grpo_loss(config, log_probs, old, advantages, torch.ones_like(old)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert sum(history[:5]) / 5 < 0.35
    assert sum(history[-5:]) / 5 > 0.9
