"""The paper's way to learn the choice: marked segments, the loss of answers through the draws, and their schedule."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from evolution_settings import terms
from memory_parts import CLIP, WIDTH, Stack, batch_of, condenser
from quiet_trainer import quiet_trainer
from torch import Tensor

from datamodules.haystack.datamodule import HaystackData
from modules.methods.msjoe.unet import UNetSampler
from modules.methods.tspo.agent import TSPOSampler
from modules.methods.videostreaming.answer_loss import AnswerLoss, memory_rows
from modules.methods.videostreaming.answer_nats import answer_nats
from modules.methods.videostreaming.marked_segments import marked_segments, segment_divergence
from modules.methods.videostreaming.over_memories import OverMemories
from modules.methods.videostreaming.straight_through import straight_through_top_k
from modules.mllms.base import FrameTokens, Row
from modules.rewards.accuracy import Accuracy
from modules.rl.evolution import EvolutionModule
from modules.rl.training_batch import TrainingBatch
from modules.selection.policies import FramePolicy, PlackettLuce


def test_divergence_by_hand() -> None:
    logits = torch.tensor([[1.0, 2.0, 4.0, 9.0], [1.0, 1.0, 1.0, 1.0]]).log().requires_grad_()
    mask = torch.tensor([[True, True, True, False], [True, True, True, True]])
    segments = torch.tensor([[True, False, True, True], [False] * 4])
    divergence = segment_divergence(logits, mask, segments)
    # p = 1/7, 2/7, 4/7; u = 1/2 on the first and the third
    by_hand = 0.5 * math.log(0.5 / (1 / 7)) + 0.5 * math.log(0.5 / (4 / 7))
    torch.testing.assert_close(divergence, torch.tensor([by_hand, 0.0]))
    (gradient,) = torch.autograd.grad(divergence.sum(), logits)
    torch.testing.assert_close(gradient[0], torch.tensor([1 / 7 - 0.5, 2 / 7, 4 / 7 - 0.5, 0.0]))  # p - u
    assert torch.equal(gradient[1], torch.zeros(4))  # no segment, nothing to learn


def test_divergence_is_zero_where_the_choice_is_the_segment() -> None:
    logits = torch.tensor([[0.0, 50.0, 50.0, 0.0]])
    segment = torch.tensor([[False, True, True, False]])
    assert segment_divergence(logits, torch.ones_like(segment), segment).item() == pytest.approx(0.0, abs=1e-6)
    assert segment_divergence(-logits, torch.ones_like(segment), segment).item() > 40


def test_segments_are_the_clips_in_which_evidence_is_seen() -> None:
    batch = batch_of([5, 3], torch.randn(2, 5, 1 + CLIP, WIDTH))  # clips of eight seconds
    spans = (((7.5, 9.0), (33.0, 34.0)), ((100.0, 101.0),))
    batch.questions = [replace(q, evidence_s=s) for q, s in zip(batch.questions, spans, strict=True)]
    # frame 8 lies in [7.5, 9), and frame 7 does not; the second question's evidence lies behind its video
    assert marked_segments(batch).tolist() == [[False, True, False, False, True], [False] * 5]


def fitted(module: EvolutionModule, data: HaystackData) -> set[str]:
    """What has moved after two updates."""
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    quiet_trainer(2).fit(module, datamodule=data)
    return {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}


@pytest.mark.parametrize(
    "settings", [{"kl_steps": 0}, {"kl_steps": 1}, {"kl_steps": None}, {"kl_steps": None, "answer_weight": 0.0}]
)
def test_each_schedule_trains_the_choice_and_nothing_else(stack: Stack, settings: dict[str, Any]) -> None:
    module = stack.module(selection_loss=AnswerLoss(**settings))
    updates, reduced = [], module.metrics.reduced
    module.metrics.reduced = lambda: updates.append(reduced()) or updates[-1]
    moved = fitted(module, stack.data())
    assert all(name.startswith("sampler.") for name in moved)
    assert any("clip_head" in name for name in moved)
    assert any("question_head" in name for name in moved)
    assert any("condenser.layers" in name for name in moved)
    with_divergence = ["policy/segment_kl_nats" in metrics for metrics in updates]
    assert with_divergence == {0: [False, False], 1: [True, False], None: [True, True]}[settings["kl_steps"]]
    for metrics in updates:
        assert ("policy/answer_nats" in metrics) == (settings.get("answer_weight") != 0.0)
        assert "reward/probability" in metrics


class Kept(AnswerLoss):
    """Keeps the batch that it was first given, and its loss then."""

    first: tuple[TrainingBatch, float] | None = None

    def loss(self, batch: TrainingBatch, policy: FramePolicy, num_picks: Tensor, batch_share: float) -> Tensor:
        loss = super().loss(batch, policy, num_picks, batch_share)
        self.first = self.first or (batch, loss.item())
        return loss


def test_the_loss_is_the_sum_of_its_parts(stack: Stack) -> None:
    loss = Kept(kl_steps=None, answer_weight=0.5)
    module = stack.module(selection_loss=loss)
    fitted(module, stack.data())
    assert loss.first is not None
    batch, value = loss.first
    draws = batch.trajectories.sampler_batch
    before = stack.module().sampler.policies(draws)  # of the same seed
    divergence = segment_divergence(before.logits, before.mask, marked_segments(draws))
    marked = marked_segments(draws).any(1)
    nats = straight_through_nats(module, batch, before)
    assert value == pytest.approx(float(divergence.sum() / marked.sum() + 0.5 * nats), rel=1e-4)
    assert float(nats) > 0


def straight_through_nats(module: EvolutionModule, batch: TrainingBatch, policy: PlackettLuce) -> Tensor:
    """The mean loss of the right answers on the draws of a batch."""
    trajectories, shape = batch.trajectories, batch.trajectories.sampler_selection.candidate_index.shape
    generators = [torch.Generator().manual_seed(seed) for seed in trajectories.seeds]
    draws = straight_through_top_k(policy.logits, policy.mask, shape[2], num_rollouts=shape[1], generator=generators)
    return answer_nats(module.mllm, memory_rows(trajectories.sampler_batch, draws)).mean()


def test_updates_bring_the_choice_nearer_to_the_segments(stack: Stack) -> None:
    loss = Kept(kl_steps=None, answer_weight=0.0)
    module = stack.module(selection_loss=loss)
    fitted(module, stack.data())
    assert loss.first is not None
    draws = loss.first[0].trajectories.sampler_batch
    before, after = (
        float(segment_divergence(policy.logits, policy.mask, marked_segments(draws)).sum())
        for policy in (stack.module().sampler.policies(draws), module.sampler.policies(draws))
    )
    assert after < before - 1e-3


def test_the_loss_of_answers_reaches_the_scores_through_the_rows_alone(stack: Stack) -> None:
    """By hand: rows in the place of frames, and d loss / d row n = d loss / d memories . memory n."""
    module, data = stack.module(), stack.data()
    quiet_trainer(-1).test(module, datamodule=data, verbose=False)
    batch = next(iter(data.test_dataloader()))
    logits = module.sampler.policies(batch).logits.detach().requires_grad_()
    generator = torch.Generator().manual_seed(1)
    draws = straight_through_top_k(logits, batch.mask, 2, generator=generator)
    draws.rows.retain_grad()
    rows = memory_rows(batch, draws)
    nats = answer_nats(module.mllm, rows)
    nats.sum().backward()
    index = draws.candidate_index[0, 0]
    shown = batch.features[0, index].clone().requires_grad_()
    frames = FrameTokens(shown, batch.candidates[0].timestamps_s[index].float())
    plain = answer_nats(module.mllm, [Row(batch.questions[0], frames, torch.arange(2))])
    torch.testing.assert_close(nats[:1], plain)  # as if the memories had been taken by their numbers
    plain.sum().backward()
    by_hand = torch.einsum("vpw,npw->vn", shown.grad, batch.features[0])
    torch.testing.assert_close(draws.rows.grad[0, 0], by_hand, rtol=1e-3, atol=1e-6)
    assert logits.grad is not None
    assert logits.grad.abs().max() > 0
    # the loss itself: the log-probability of the right option's words and the end, over the root of their number
    question, tokenizer = batch.questions[0], module.mllm.tokenizer
    ids = torch.tensor([*tokenizer(question.options[question.answer_index])["input_ids"], tokenizer.eos_token_id])
    expected = -module.mllm.log_probs(rows[:1], [ids]).sum() / math.sqrt(len(ids))
    torch.testing.assert_close(nats[0], expected)


def test_parts_of_a_batch_have_the_gradient_of_the_whole(stack: Stack) -> None:
    gradients = []
    for rows_per_forward in (256, 3):
        module = stack.module(selection_loss=AnswerLoss(), rows_per_forward=rows_per_forward)
        module.on_before_optimizer_step = lambda optimizer, m=module: gradients.append(m.sampler.clip_head.weight.grad)
        quiet_trainer(1).fit(module, datamodule=stack.data())
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-7)
    assert gradients[0].abs().max() > 0


def test_questions_without_evidence_are_counted_and_named(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    module, data = stack.module(selection_loss=AnswerLoss(kl_steps=None, answer_weight=0.0)), stack.data()
    real = data.transfer_batch_to_device

    def without_evidence(batch, device, dataloader_idx):
        batch = real(batch, device, dataloader_idx)
        batch.questions = [replace(q, evidence_s=()) for q in batch.questions]
        return batch

    data.transfer_batch_to_device = without_evidence
    with caplog.at_level(logging.WARNING):
        assert not fitted(module, data)
    assert "4 of 4 questions of a batch have no marked segment" in caplog.text
    assert caplog.text.count("no marked segment") == 1
    assert module.trainer.callback_metrics["policy/unmarked_frac"] == 1.0
    assert "policy/segment_kl_nats" not in module.trainer.callback_metrics


def test_what_does_not_go_together_is_refused(stack: Stack) -> None:
    with pytest.raises(ValueError, match="leaves nothing to learn from after kl_steps=5"):
        AnswerLoss(kl_steps=5, answer_weight=0.0)
    with pytest.raises(ValueError, match="evolve has to be 'sampler', or selection_loss left out"):
        stack.module(selection_loss=AnswerLoss(), evolve="joint", rewards=terms(Accuracy()))


@pytest.mark.parametrize("kind", ["tspo", "unet"])
@pytest.mark.parametrize("loss", [None, AnswerLoss(kl_steps=None)])
def test_samplers_of_frames_choose_memories(stack: Stack, kind: str, loss: AnswerLoss | None) -> None:
    torch.manual_seed(5)
    inner = (
        TSPOSampler(dim=WIDTH, num_heads=4, temperature=0.2)
        if kind == "tspo"
        else UNetSampler(max_queries=1, channels=(8, 8), similarity_init=1.0)
    )
    sampler = OverMemories(condenser=condenser(stack.vlm), sampler=inner)
    module = stack.module(sampler=sampler, selection_loss=loss)
    moved = fitted(module, stack.data())
    assert any(name.startswith("sampler.sampler.") for name in moved)
    assert any("clip_head" in name for name in moved)
    assert not any("condenser.input" in name or name.startswith("mllm.") for name in moved)
    groups = {group["name"]: len(group["params"]) for group in module.parameter_groups()}
    assert groups["sampler"] == 4 + len(list(inner.parameters()))


def test_padding_changes_nothing_for_a_sampler_over_memories(stack: Stack) -> None:
    sampler = OverMemories(condenser=condenser(stack.vlm), sampler=TSPOSampler(dim=WIDTH, num_heads=4, init_std=0.3))
    features = torch.randn(2, 9, 1 + CLIP, WIDTH, generator=torch.Generator().manual_seed(4))
    both, alone = sampler.policies(batch_of([9, 3], features)), sampler.policies(batch_of([3], features[1:, :3]))
    torch.testing.assert_close(both.logits[1, :3], alone.logits[0], rtol=1e-4, atol=1e-4)


def test_a_run_begins_with_what_another_one_learnt(stack: Stack, tmp_path: Path) -> None:
    first = stack.module(selection_loss=AnswerLoss(kl_steps=None, answer_weight=0.0))
    fitted(first, stack.data())
    first.trainer.save_checkpoint(tmp_path / "segments.ckpt")
    second = stack.module(init_from=str(tmp_path / "segments.ckpt"))  # and goes on with GRPO
    for name, parameter in second.sampler.named_parameters():
        assert torch.equal(parameter, first.sampler.get_parameter(name)), name
