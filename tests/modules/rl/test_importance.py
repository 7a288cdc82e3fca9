"""Answers that an engine drew count by the truncated importance ratio, and as ever where its weights are fresh."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trl_oracle import trl_loss

from modules.mllms.base import MLLM, FrameTokens, Generation, Row
from modules.mllms.completions import Completions
from modules.mllms.engine import LocalEngine, RolloutEngine
from modules.mllms.llava_onevision import LlavaOnevision
from modules.records import VideoQuestion
from modules.rl.grpo import GRPO, grpo_loss
from modules.rl.importance import EngineRollouts, importance_weights, with_own_log_probs
from modules.rl.rollout_phase import RolloutPhase
from modules.rl.token_training import JointTraining, TokenTraining
from modules.small_stack.blank_families import write_blank_family
from modules.systems.stopwatch import Stopwatch

pytestmark = pytest.mark.usefixtures("one_thread")
QUESTION = VideoQuestion("d", "s", "q", "v", 8.0, "What colour is the star?", ("red", "green", "blue"), 1)


class CopyEngine(RolloutEngine):
    """A copy of the model that has the weights of its last sync: what a server would draw, without one."""

    def __init__(self) -> None:
        self.copy: MLLM | None = None
        self.versions: list[int] = []

    def prepare(self, mllm: MLLM) -> None:
        pass

    def generate(self, rows: list[Row], max_new_tokens: int, temperature: float, seeds: list[int]) -> Generation:
        assert self.copy is not None
        return self.copy.generate(rows, max_new_tokens, temperature, seeds)

    def sync_weights(self, mllm: MLLM, version: int) -> None:
        self.copy = copy.deepcopy(mllm).requires_grad_(False)
        self.versions.append(version)


def test_a_hand_computed_case() -> None:
    """Drawn with probability 1/4 what the model has at 1/2, counts twice; at 1/2 what it has at 1/4, half."""
    old = torch.tensor([[math.log(0.5), math.log(0.25), math.log(0.9), math.log(0.3)]])
    drawn = torch.tensor([[math.log(0.25), math.log(0.5), math.log(0.1), math.nan]])
    mask = torch.ones(1, 4)
    weights = importance_weights(old, drawn, mask, cap=3.0)
    assert weights[0].tolist() == pytest.approx([2.0, 0.5, 3.0, 1.0])  # 9 is cut to 3; what is not told counts as 1
    assert importance_weights(old, drawn, torch.tensor([[0.0, 1, 1, 1]]), 3.0)[0, 0] == 1.0
    # dapo, advantage 2, ratio 1: L = -(2 / 4) (2 + 0.5 + 3 + 1), and its gradient at each token is -(2 / 4) w
    log_probs = old.clone().requires_grad_()
    loss = grpo_loss(GRPO(), log_probs, old, torch.tensor([2.0]), mask, importance=weights).loss
    loss.backward()
    assert loss.item() == pytest.approx(-0.5 * 6.5)
    assert log_probs.grad[0].tolist() == pytest.approx([-1.0, -0.25, -1.5, -0.5])


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo"])
@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_loss_and_gradient_equal_trls(loss_type: str, beta: float) -> None:
    draw = torch.Generator().manual_seed(0)
    new, old, drawn, reference = (-3 * torch.rand(4, 5, generator=draw) for _ in range(4))
    mask = (torch.arange(5)[None] < torch.tensor([5, 3, 1, 4])[:, None]).float()
    advantages = torch.randn(4, generator=draw)
    config = GRPO(loss_type=loss_type, beta=beta)
    weights = importance_weights(old, drawn, mask, 2.0)
    assert (weights == 2.0).any()
    gradients = []
    for theirs in (False, True):
        leaf = new.clone().requires_grad_()
        if theirs:
            extra = {"max_length": 5, "importance": weights}
            loss = trl_loss(config, leaf, old, reference, advantages, mask, torch.zeros_like(mask), **extra)
        else:
            loss = grpo_loss(config, leaf, old, advantages, mask, ref_log_probs=reference, importance=weights).loss
        loss.backward()
        gradients.append((loss.item(), leaf.grad))
    assert gradients[0][0] == pytest.approx(gradients[1][0], abs=1e-6)
    torch.testing.assert_close(gradients[0][1], gradients[1][1], atol=1e-6, rtol=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    write_blank_family("llava_onevision", path)
    return path


def gradient(folder: Path, moved: float, engine: CopyEngine | None, cap: float = 3.0) -> tuple[dict[str, Any], Any]:
    """The gradient of one update on eight answers, drawn by the model before it moved or by an engine that did not."""
    mllm = LlavaOnevision(path=str(folder))
    mllm.requires_grad_(False)
    rollouts = None if engine is None else EngineRollouts(engine=engine, importance_cap=cap)
    training = TokenTraining(mllm, JointTraining(rollouts=rollouts), GRPO(num_generations=4))
    frames = torch.randint(0, 255, (4, 3, 56, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    tokens = FrameTokens(mllm.encode_frames(frames), torch.arange(4.0))
    rows = [Row(QUESTION, tokens, torch.tensor([n % 4])) for n in range(8)]
    drawn_by = engine or LocalEngine(mllm)
    drawn_by.sync_weights(mllm, 0)
    with torch.no_grad():
        for parameter in training.parameters():
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
            parameter.add_(moved * parameter.std(unbiased=False) * noise)
    completions = Completions(rows, drawn_by.generate(rows, 4, 1.0, list(range(8))))
    if engine is not None:
        completions = with_own_log_probs(completions, mllm, 1.0, rows_per_forward=3)
    advantages = torch.tensor([1.0, -1, 0.5, -0.5, 2, -2, 1, -1])
    for part in training.loss_parts([completions], advantages, rows_per_forward=3):
        part.loss.backward()
    return {name: p.grad for name, p in mllm.named_parameters() if p.grad is not None}, completions


def test_with_fresh_weights_the_gradient_is_that_of_the_model_itself(folder: Path) -> None:
    on_policy, own = gradient(folder, 0.0, None)
    engine, drawn = gradient(folder, 0.0, CopyEngine())
    assert all(torch.equal(*ids) for ids in zip(own.generation.token_ids, drawn.generation.token_ids, strict=True))
    assert on_policy.keys() == engine.keys()
    assert max(g.abs().max() for g in on_policy.values()) > 1e-3
    for name, values in on_policy.items():
        torch.testing.assert_close(engine[name], values, atol=1e-5, rtol=1e-3)


def test_one_step_off_the_gradient_is_weighted_and_not_clipped(folder: Path) -> None:
    """Tokens count by pi_now / pi_drawn, and PPO's ratio is 1: the clip is about the update, not about the engine."""
    stale, drawn = gradient(folder, 0.3, CopyEngine(), cap=1e9)
    ratios = torch.cat(drawn.generation.log_probs).sub(torch.cat(drawn.drawn_log_probs)).exp()
    assert (ratios - 1).abs().max() > 0.2
    mllm = LlavaOnevision(path=str(folder))  # by hand: -A w log pi, summed over tokens
    mllm.requires_grad_(False)
    training = TokenTraining(mllm, JointTraining(), GRPO(num_generations=4))
    with torch.no_grad():
        for parameter in training.parameters():
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
            parameter.add_(0.3 * parameter.std(unbiased=False) * noise)
    log_probs = mllm.log_probs(drawn.rows, drawn.generation.token_ids)
    advantages, total = torch.tensor([1.0, -1, 0.5, -0.5, 2, -2, 1, -1]), 0
    for n, (own, from_engine) in enumerate(zip(drawn.generation.log_probs, drawn.drawn_log_probs, strict=True)):
        total = total - (advantages[n] * (own - from_engine).exp() * log_probs[n, : len(own)]).sum()
    (total / drawn.num_tokens).backward()
    for name, parameter in mllm.named_parameters():
        if name in stale:
            torch.testing.assert_close(stale[name], parameter.grad, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(("sync_every", "versions"), [(1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (3, [0, 3])])
def test_weights_are_given_as_often_as_the_recipe_says(sync_every: int, versions: list[int]) -> None:
    phase, engine = phase_with(sync_every)
    for step in (0, 0, 1, 2, 3, 4, 4):  # two batches of an update have one step
        assert phase._synced(step) is engine
    assert engine.versions == versions


def test_a_resumed_run_gives_its_weights_first() -> None:
    phase, engine = phase_with(2)
    phase._synced(7)
    assert engine.versions == [7]


def phase_with(sync_every: int) -> tuple[RolloutPhase, Any]:
    class Silent(CopyEngine):
        def sync_weights(self, mllm: MLLM, version: int) -> None:
            self.versions.append(version)  # no copy

    engine = Silent()
    rollouts = EngineRollouts(engine=engine, sync_every=sync_every)
    sampler: Any = None
    answering: Any = SimpleNamespace(mllm=None, stopwatch=Stopwatch())
    return RolloutPhase(sampler, answering, None, 2, 2, 0, drawn_by=rollouts), engine


@pytest.mark.parametrize("settings", [{"sync_every": 0}, {"importance_cap": 0.5}, {"importance_cap": math.nan}])
def test_what_makes_no_sense_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        EngineRollouts(engine=CopyEngine(), **settings)
