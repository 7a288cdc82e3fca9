"""Joint evolution: the MLLM's tokens are trained under the same advantages as its sampler's picks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from evolution_settings import evolution, terms
from quiet_trainer import quiet_trainer
from torch import Tensor
from trl_oracle import trl_loss

from datamodules.haystack.datamodule import HaystackData
from datamodules.video.decoding_settings import DecodingSettings
from modules.encoders.open_clip import OpenCLIPEncoder
from modules.evaluation.evaluation_module import EvaluationModule
from modules.methods.training_free.uniform import Uniform
from modules.methods.tspo.agent import TSPOSampler
from modules.mllms.base import FrameTokens, Generation, Row
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.loading import Loading, Lora
from modules.mllms.openai import OpenAIChat
from modules.mllms.prompt import Prompt
from modules.records import Rollouts, VideoQuestion
from modules.rewards.accuracy import Accuracy
from modules.rewards.base import Reward
from modules.rewards.probability import Probability
from modules.rl.evolution import EvolutionModule
from modules.rl.grpo import GRPO
from modules.rl.optimizer_step import OptimizerStep
from modules.rl.token_training import Completions, JointTraining, TokenTraining
from modules.systems.base import Reply
from modules.systems.sampler_system import SamplerSystem

WORDS = Prompt(answer_with="words")
QUESTION = VideoQuestion("d", "s", "q", "v", 8.0, "What colour is the star?", ("red", "green", "blue"), 1)


pytestmark = pytest.mark.usefixtures("one_thread")


class Parts:
    def __init__(self, root: Path, world: Any, clip: Path, vlm: Path) -> None:
        self.root, self.world, self.clip, self.vlm = root, world, clip, vlm

    def data(self, **kwargs: Any) -> HaystackData:
        return HaystackData(
            world=self.world,
            root=str(self.root / "videos"),
            feature_dir=str(self.root / "features"),
            decoding=DecodingSettings(num_workers=1),
            num_train_videos=2,
            num_val_videos=1,
            num_test_videos=1,
            encoder=OpenCLIPEncoder(model=f"local-dir:{self.clip}"),
            **{"batch_size": 4, **kwargs},
        )

    def mllm(self, **kwargs: Any) -> LlavaOnevision:
        return LlavaOnevision(path=str(self.vlm), prompt=WORDS, **kwargs)

    def module(self, mllm: LlavaOnevision | None = None, **kwargs: Any) -> EvolutionModule:
        torch.manual_seed(3)
        settings: dict[str, Any] = {
            "rewards": terms(EvenLength()),
            "grpo": GRPO(num_generations=4, loss_type="grpo"),
            "num_frames": 4,
            "learning_rate": 1e-2,
            "evolve": "joint",
            "joint": JointTraining(learning_rate=1e-3),
            "max_new_tokens": 3,
            "store_frame_tokens": True,
            "baselines": {"uniform": Uniform()},
            **kwargs,
        }
        return evolution(sampler=TSPOSampler(dim=32, num_heads=4), mllm=mllm or self.mllm(), **settings)

    def trainer(self, max_steps: int = 2, **kwargs: Any) -> L.Trainer:
        return quiet_trainer(max_steps, **kwargs)

    def train(self, max_steps: int = 2, **kwargs: Any) -> EvolutionModule:
        module = self.module(**kwargs)
        self.trainer(max_steps).fit(module, datamodule=self.data())
        return module


@pytest.fixture(scope="module")
def parts(tmp_path_factory, short_world, blank_clip, blank_vlm) -> Parts:
    return Parts(tmp_path_factory.mktemp("joint"), short_world, blank_clip, blank_vlm)


def rows(mllm: LlavaOnevision, count: int = 4) -> list[Row]:
    frames = torch.randint(0, 255, (12, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    tokens = FrameTokens(mllm.encode_frames(frames), torch.arange(12.0))
    return [Row(QUESTION, tokens, torch.tensor([n, n + 1, n + 2][: 1 + n % 3])) for n in range(count)]


def backward(
    training: TokenTraining, completions: list[Completions], advantages: Tensor, rows_per_forward: int
) -> Tensor:
    """Part by part, as training does it; the whole loss."""
    total = torch.zeros(())
    for part in training.loss_parts(completions, advantages, rows_per_forward):
        part.loss.backward()
        total = total + part.loss.detach()
    return total


def moved(before: dict[str, Tensor], module: EvolutionModule) -> set[str]:
    return {n for n, p in module.named_parameters() if not torch.equal(before[n], p)}


def snapshot(module: EvolutionModule) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in module.named_parameters()}


def test_both_evolve_and_the_vision_tower_does_not(parts: Parts) -> None:
    before = snapshot(parts.module())
    changed = moved(before, parts.train())
    assert any(n.startswith("sampler.") for n in changed)
    assert any("language_model" in n for n in changed)
    assert not any("vision_tower" in n or "multi_modal_projector" in n for n in changed)


def test_options_that_no_reward_reads_are_not_scored(parts: Parts, monkeypatch) -> None:
    scored: list[int] = []
    real = LlavaOnevision.score_options
    monkeypatch.setattr(LlavaOnevision, "score_options", lambda self, *a, **k: scored.append(1) or real(self, *a, **k))
    parts.train(max_steps=1)
    assert not scored
    parts.train(max_steps=1, rewards=terms(EvenLength(), Probability()))
    assert scored


def test_one_key_is_the_difference(parts: Parts) -> None:
    before = snapshot(parts.module())
    changed = moved(before, parts.train(evolve="sampler", rewards=terms(Probability(), EvenLength())))
    assert changed
    assert all(n.startswith("sampler.") for n in changed)


def test_a_frozen_group_waits_and_the_other_does_not(parts: Parts) -> None:
    before = snapshot(parts.module())
    module = parts.train(
        max_steps=2, joint=JointTraining(learning_rate=1e-3, freeze_steps=5), lr_scheduler_type="constant"
    )
    assert all(n.startswith("sampler.") for n in moved(before, module))


def test_each_group_has_its_learning_rate_and_warm_up(parts: Parts) -> None:
    module = parts.module(
        joint=JointTraining(learning_rate=1e-3, warmup_steps=4),
        warmup_steps=0,
        lr_scheduler_type="constant_with_warmup",
    )
    parts.trainer(2).fit(module, datamodule=parts.data())
    rates = {g["name"]: g["lr"] for g in module.optimizers().param_groups}
    assert rates["sampler"] == pytest.approx(1e-2)
    assert rates["mllm"] == pytest.approx(1e-3 * 2 / 4)


def test_answers_are_drawn_reproducibly_and_each_row_for_itself(parts: Parts) -> None:
    mllm = parts.mllm()
    asked, seeds = rows(mllm, 8), list(range(50, 58))
    first = mllm.generate(asked, 3, 1.0, seeds).token_ids
    other = mllm.generate(asked, 3, 1.0, [s + 100 for s in seeds]).token_ids
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    order = [5, 0, 3]
    again = mllm.generate([asked[i] for i in order], 3, 1.0, [seeds[i] for i in order]).token_ids
    assert all(torch.equal(first[i], ids) for i, ids in zip(order, again, strict=True))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_drawn_tokens_carry_the_log_probs_of_the_tempered_policy(parts: Parts, temperature: float) -> None:
    mllm = parts.mllm()
    answer = mllm.generate(rows(mllm), 3, temperature, [1, 2, 3, 4])
    log_probs = mllm.log_probs(rows(mllm), answer.token_ids, temperature)
    for n, ids in enumerate(answer.token_ids):
        torch.testing.assert_close(log_probs[n, : len(ids)], answer.log_probs[n], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo"])
def test_token_loss_and_gradient_equal_trls_on_a_vlm(parts: Parts, loss_type: str) -> None:
    settings = JointTraining(loss_type=loss_type, beta=0.05)
    mllm = parts.mllm()
    mllm.requires_grad_(False)
    training = TokenTraining(mllm, settings, GRPO(num_generations=4))
    with torch.no_grad():  # an MLLM that has moved since it answered
        answers = mllm.generate(rows(mllm, 6), 4, 1.0)
        for parameter in training.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    advantages = torch.randn(6, generator=torch.Generator().manual_seed(0))
    ours = backward(training, [Completions(rows(mllm, 6), answers)], advantages, rows_per_forward=4)
    gradient = {n: p.grad.clone() for n, p in mllm.named_parameters() if p.grad is not None}
    mllm.zero_grad()

    log_probs = mllm.log_probs(rows(mllm, 6), answers.token_ids)
    with torch.no_grad():
        reference = training.initial.log_probs(rows(mllm, 6), answers.token_ids)
    lengths = torch.tensor([len(i) for i in answers.token_ids])
    mask = (torch.arange(log_probs.shape[1])[None] < lengths[:, None]).float()
    old = torch.nn.utils.rnn.pad_sequence(answers.log_probs, batch_first=True)
    length = log_probs.shape[1]
    nothing = torch.zeros_like(mask)
    theirs = trl_loss(training.grpo, log_probs, old, reference, advantages, mask, nothing, max_length=length)
    theirs.backward()
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
    for name, parameter in mllm.named_parameters():
        if name in gradient:
            torch.testing.assert_close(gradient[name], parameter.grad, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("loss_type", ["dapo", "cispo", "grpo", "bnpo"])
def test_an_update_of_two_batches_is_that_of_both_together(parts: Parts, monkeypatch, loss_type: str) -> None:
    """Answers are cut to 1 to 6 tokens, so the batches are of unlike lengths; bnpo is a mean of each, as in TRL."""
    gradients: list[dict[str, Tensor]] = []
    real = OptimizerStep.step

    def step(self: OptimizerStep, module: EvolutionModule, loss: Tensor) -> Any:
        gradients.append({n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None})
        return real(self, module, loss)

    whole_answers = LlavaOnevision.generate

    def generate(self: LlavaOnevision, rows: list[Row], max_new_tokens: int, temperature: float, seeds: Any) -> Any:
        answers = whole_answers(self, rows, max_new_tokens, temperature, seeds)
        cut = [1 + seed % max_new_tokens for seed in seeds]
        return Generation(
            answers.texts,
            *([x[:n] for x, n in zip(part, cut, strict=True)] for part in (answers.token_ids, answers.log_probs)),
        )

    monkeypatch.setattr(OptimizerStep, "step", step)
    monkeypatch.setattr(LlavaOnevision, "generate", generate)
    settings: dict[str, Any] = {
        "grpo": GRPO(num_generations=4, loss_type=loss_type),
        "max_new_tokens": 6,
        "joint": JointTraining(loss_type=loss_type),
        "rows_per_forward": 3,
    }
    for batch_size, accumulate in ((4, 1), (2, 2)):
        module = parts.module(accumulate=accumulate, **settings)
        parts.trainer(1).fit(module, datamodule=parts.data(batch_size=batch_size))
    whole, halves = gradients
    assert whole.keys() == halves.keys()
    assert any("language_model" in name for name in whole)
    apart = {n: float((whole[n] - halves[n]).abs().max() / whole[n].abs().max().clamp(min=1e-8)) for n in whole}
    mine = {n: difference for n, difference in apart.items() if n.startswith("mllm.")}
    assert (max(mine.values()) < 1e-3) == (loss_type != "bnpo")


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo"])
def test_what_teaches_nothing_is_not_taken_forward(parts: Parts, monkeypatch, loss_type: str) -> None:
    """Loss and gradient are TRL's of all six rows; only the three with an advantage run, and one for its part."""
    mllm = parts.mllm().requires_grad_(False)
    training = TokenTraining(mllm, JointTraining(loss_type=loss_type), GRPO(num_generations=4))
    answers = mllm.generate(rows(mllm, 6), 4, 1.0)
    answers = Generation(
        answers.texts, *([v[: 1 + n % 3] for n, v in enumerate(vs)] for vs in (answers.token_ids, answers.log_probs))
    )
    advantages = torch.tensor([0.7, 0.0, -1.2, 0.4, 0.0, 0.0])
    forward, real = [], mllm.log_probs
    monkeypatch.setattr(mllm, "log_probs", lambda asked, *rest: forward.append(len(asked)) or real(asked, *rest))
    ours = backward(training, [Completions(rows(mllm, 6), answers)], advantages, rows_per_forward=4)
    assert forward == [3, 1]
    gradient = {n: p.grad.clone() for n, p in mllm.named_parameters() if p.grad is not None}
    mllm.zero_grad()

    log_probs = real(rows(mllm, 6), answers.token_ids)
    lengths = torch.tensor([len(i) for i in answers.token_ids])
    mask = (torch.arange(log_probs.shape[1])[None] < lengths[:, None]).float()
    old = torch.nn.utils.rnn.pad_sequence(answers.log_probs, batch_first=True)
    nothing = torch.zeros_like(mask)
    theirs = trl_loss(training.grpo, log_probs, old, nothing, advantages, mask, nothing, max_length=mask.shape[1])
    theirs.backward()
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
    for name, parameter in mllm.named_parameters():
        if name in gradient:
            torch.testing.assert_close(gradient[name], parameter.grad, atol=1e-5, rtol=1e-3)


def test_a_trajectory_without_advantage_still_feels_the_kl(parts: Parts) -> None:
    mllm = parts.mllm().requires_grad_(False)
    training = TokenTraining(mllm, JointTraining(beta=0.1), GRPO(num_generations=4))
    assert training._rows_of_parts(torch.zeros(3), [1, 1, 1], 2) == [[0, 1], [2]]


def test_kl_is_zero_before_the_first_step_and_not_after(parts: Parts) -> None:
    mllm = parts.mllm().requires_grad_(False)
    training = TokenTraining(mllm, JointTraining(beta=0.1), GRPO(num_generations=4))
    completions = Completions(rows(mllm), mllm.generate(rows(mllm), 3, 1.0))
    assert next(training.loss_parts([completions], torch.zeros(4), 8)).kl_nats == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        for parameter in training.parameters():
            parameter.mul_(1.2)
    assert next(training.loss_parts([completions], torch.zeros(4), 8)).kl_nats > 1e-5


class EvenLength(Reward):
    """1 where the answer has an even number of letters: something that even a blank model varies in."""

    needs_text, needs_options = True, False

    def __call__(self, rollouts: Rollouts) -> Tensor:
        assert rollouts.texts is not None
        return torch.tensor([[float(len(t) % 2 == 0) for t in texts] for texts in rollouts.texts])


class SaysRed(Reward):
    """1 where the answer begins with "red": a thing that only the MLLM can learn."""

    needs_text = True

    def __call__(self, rollouts: Rollouts) -> Tensor:
        assert rollouts.texts is not None
        return torch.tensor([[float(t.startswith("red")) for t in texts] for texts in rollouts.texts])


@pytest.mark.long
def test_the_mllm_learns_what_is_rewarded(parts: Parts) -> None:
    mllm = parts.mllm()
    before = mllm.log_probs(
        rows(mllm), [torch.tensor(mllm.tokenizer("red", add_special_tokens=False)["input_ids"])] * 4
    )
    module = parts.module(
        mllm,
        rewards=terms(SaysRed()),
        max_new_tokens=1,
        grpo=GRPO(num_generations=32, loss_type="grpo"),
        joint=JointTraining(learning_rate=3e-3),
        lr_scheduler_type="constant",
    )
    parts.trainer(60).fit(module, datamodule=parts.data(batch_size=8))
    after = mllm.log_probs(rows(mllm), [torch.tensor(mllm.tokenizer("red", add_special_tokens=False)["input_ids"])] * 4)
    assert before.exp().mean() < 0.05
    assert after.exp().mean() > 0.5


def test_a_joint_checkpoint_resumes_to_the_same_numbers(parts: Parts, tmp_path: Path) -> None:
    whole = parts.train(max_steps=4)
    callback = L.pytorch.callbacks.ModelCheckpoint(
        dirpath=tmp_path, every_n_train_steps=2, save_top_k=-1, filename="{step}"
    )
    first = parts.module()
    # the same schedule, left after two of four updates
    trainer = parts.trainer(4, enable_checkpointing=True, callbacks=[callback, _StopAt(2)])
    trainer.fit(first, datamodule=parts.data())
    path = next(tmp_path.glob("*step=2.ckpt"))
    saved = torch.load(path, weights_only=True)["state_dict"]
    assert any("language_model" in k for k in saved)
    assert not any("vision_tower" in k for k in saved)
    resumed = parts.module()
    parts.trainer(4).fit(resumed, datamodule=parts.data(), ckpt_path=path, weights_only=True)
    for (name, a), b in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b), name


class _StopAt(L.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step >= self.step:
            trainer.should_stop = True


def test_an_evaluation_answers_with_the_mllm_that_was_trained(parts: Parts, tmp_path: Path) -> None:
    module = parts.train(joint=JointTraining(learning_rate=1e-2))
    module.sampler.temperature = 0.5
    module.trainer.save_checkpoint(tmp_path / "joint.ckpt")

    def evaluation(**kwargs: Any) -> EvaluationModule:
        return EvaluationModule(
            mllm=parts.mllm(**kwargs),
            systems={"sampler": SamplerSystem(sampler=TSPOSampler(dim=32, num_heads=4))},
            num_frames=4,
        )

    trained, trainer = evaluation(), parts.trainer()
    path = str(tmp_path / "joint.ckpt")
    trainer.test(trained, datamodule=parts.data(), ckpt_path=path, weights_only=True, verbose=False)
    for (name, a), b in zip(module.mllm.named_parameters(), trained.mllm.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert trained.systems["sampler"].sampler.temperature == 0.5
    assert "of the checkpoint" in trained.describe()["trained in the mllm"]
    assert evaluation().describe()["trained in the mllm"] == "none"
    adapted = parts.train(max_steps=1, mllm=parts.mllm(loading=Loading(lora=Lora(r=2))))
    adapted.trainer.save_checkpoint(tmp_path / "lora.ckpt")
    with pytest.raises(ValueError, match=r"lora_.*mllm\.loading\.lora"):
        evaluation().on_load_checkpoint(torch.load(tmp_path / "lora.ckpt", weights_only=True))
    evaluation(loading=Loading(lora=Lora(r=2))).on_load_checkpoint(
        torch.load(tmp_path / "lora.ckpt", weights_only=True)
    )


def test_lora_checkpoints_hold_adapters_only(parts: Parts, tmp_path: Path) -> None:
    module = parts.module(parts.mllm(loading=Loading(lora=Lora(r=2))))
    trainer = parts.trainer(1)
    trainer.fit(module, datamodule=parts.data())
    trainer.save_checkpoint(tmp_path / "lora.ckpt")
    saved = torch.load(tmp_path / "lora.ckpt", weights_only=True)["state_dict"]
    mllm = {k for k in saved if k.startswith("mllm.")}
    assert mllm
    assert all("lora_" in k for k in mllm)


def test_gradient_checkpointing_changes_no_gradient(parts: Parts) -> None:
    gradients = []
    for checkpointing in (False, True):
        mllm = parts.mllm().requires_grad_(False)
        training = TokenTraining(mllm, JointTraining(gradient_checkpointing=checkpointing), GRPO(num_generations=4))
        completions = Completions(rows(mllm), mllm.generate(rows(mllm), 3, 1.0))
        backward(training, [completions], torch.tensor([1.0, -1.0, 0.5, 0.2]), 8)
        gradients.append([p.grad.clone() for p in training.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_the_initial_mllm_answers_the_same_frames_too(parts: Parts) -> None:
    module = parts.train(joint=JointTraining(learning_rate=1e-2, keep_initial=True))
    trainer = parts.trainer()
    collected: list[Reply] = []
    trainer.callbacks.append(_Collect(collected))
    trainer.test(module, datamodule=parts.data(), verbose=False)
    names = {r.answer.system for r in collected}
    answers = {name: [r.answer for r in collected if r.answer.system == name] for name in names}
    assert {"after", "after, initial mllm", "uniform", "uniform, initial mllm"} <= answers.keys()
    frozen, evolved = answers["after, initial mllm"], answers["after"]
    assert [a.timestamps_s for a in frozen] == [a.timestamps_s for a in evolved]
    theirs, ours = (torch.tensor([a.option_log_probs[0] for a in own]) for own in (frozen, evolved))
    assert not torch.allclose(theirs, ours, atol=1e-4)


class _Collect(L.Callback):
    def __init__(self, rows: list[Reply]) -> None:
        self.rows = rows

    def on_test_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        self.rows += outputs


def test_what_cannot_be_trained_is_refused(parts: Parts) -> None:
    with pytest.raises(ValueError, match="a reward with an mllm_weight has to read them"):
        parts.module(rewards=terms(Probability()))
    with pytest.raises(ValueError, match="a reward with an mllm_weight has to read them"):
        parts.module(rewards=terms(Probability()) | terms(Accuracy(by="text"), mllm_weight=0.0))
    served = OpenAIChat(model="m", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(ValueError, match="cannot be trained"):
        evolution(
            sampler=Uniform(),
            mllm=served,
            rewards=terms(Accuracy(by="text")),
            evolve="joint",
            grpo=GRPO(num_generations=2),
        )
    with pytest.raises(ValueError, match="above 0"):
        JointTraining(learning_rate=0.0)
