"""The LightningModule that wires it all: roll out, reward, compare, update.

One training step, for B questions:

1. one forward of the sampler gives the policies; G selections of K frames are drawn from each;
2. the union of a question's chosen frames is encoded once; the MLLM answers every selection in one batched forward;
3. reward terms judge the answers; advantages are taken inside each group of G;
4. the GRPO loss on the log-probabilities of the draws updates the sampler, ``num_iterations`` times.

``evolve: sampler`` trains the sampler with the MLLM frozen. ``evolve: joint`` trains both from the same rollouts: an
answer is drawn for every selection, and the tokens' GRPO loss (`modules.joint`) joins the sampler's.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor
from transformers import get_scheduler

from modules import grpo
from modules.answering import Answering, FrameSource
from modules.evidence import evidence_found, oracle_selection
from modules.joint import JointTraining, Spoken, TokenTraining
from modules.mllms.base import MLLM
from modules.policies import FramePolicy
from modules.ranks import gather_lists
from modules.records import QuestionBatch, Rollouts, Selection
from modules.rewards.accuracy import parse_option
from modules.rewards.base import Reward
from modules.samplers.base import FrameSampler
from modules.seeds import seed_of

SchedulerType = Literal["linear", "cosine", "constant", "constant_with_warmup"]


class EvolutionModule(L.LightningModule):
    """Trains a frame sampler from an MLLM's own answers.

    Args:
        sampler: what learns.
        mllm: what answers; frozen, unless both evolve.
        rewards: terms of the reward.
        reward_weights: one weight a term; all 1 by default.
        evolve: ``sampler``, or ``joint``: the MLLM is trained too.
        joint: how, under ``evolve: joint``.
        grpo: the update.
        num_frames: K.
        learning_rate, lr_scheduler_type, warmup_steps, weight_decay, max_grad_norm: of AdamW; the schedule spans
            ``trainer.max_steps`` updates.
        accumulate: batches an update.
        store_frame_tokens: keep the MLLM's tokens of *all* candidates in the feature store, so that no frame is decoded
            or encoded during training; else the union of the chosen frames is decoded and encoded at every step.
        rows_per_forward: rollouts in one forward of the MLLM.
        max_new_tokens: of generated answers, where a reward reads text.
        max_nonfinite_steps: stop after so many steps in a row with a loss or gradient that is not finite.
        canary: before the first step, check that the answers depend on the frames.
        baselines: samplers that are tested beside this one.
        seed: of the rollouts.
    """

    def __init__(
        self,
        *,
        sampler: FrameSampler,
        mllm: MLLM,
        rewards: list[Reward],
        reward_weights: list[float] | None = None,
        evolve: Literal["sampler", "joint"] = "sampler",
        joint: JointTraining | None = None,
        grpo: grpo.GRPO,
        num_frames: PositiveInt = 8,
        learning_rate: PositiveFloat = 5e-4,
        lr_scheduler_type: SchedulerType = "linear",
        warmup_steps: NonNegativeInt = 0,
        weight_decay: NonNegativeFloat = 0.0,
        max_grad_norm: PositiveFloat = 1.0,
        accumulate: PositiveInt = 1,
        store_frame_tokens: bool = False,
        rows_per_forward: PositiveInt = 256,
        max_new_tokens: PositiveInt = 16,
        max_nonfinite_steps: PositiveInt = 10,
        canary: bool = True,
        baselines: dict[str, FrameSampler] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not rewards:
            raise ValueError("rewards: name at least one term")
        weights = [1.0] * len(rewards) if reward_weights is None else reward_weights
        if len(weights) != len(rewards):
            raise ValueError(f"{len(rewards)} rewards but {len(weights)} reward_weights")
        if evolve == "joint" and not any(r.needs_text and w for r, w in zip(rewards, weights, strict=True)):
            raise ValueError(
                "evolve: joint trains the MLLM on its own words, so a reward with a weight has to read them, e.g. "
                "Accuracy with by: text (recipes/overlays/joint.yaml)"
            )
        if grpo.num_iterations > 1 and accumulate > 1:
            raise ValueError("num_iterations above 1 re-uses a batch after its update, so accumulate has to be 1")
        self.automatic_optimization = False
        self.strict_loading = False  # a checkpoint holds what is trained; the frozen parts come from their own files
        self.sampler, self.mllm = sampler, mllm.requires_grad_(False)
        self.rewards = {r.name: r for r in rewards}
        self.reward_weights = {r.name: w for r, w in zip(rewards, weights, strict=True)}
        self.evolve, self.grpo, self.num_frames = evolve, grpo, num_frames
        self.tokens = TokenTraining(mllm, joint or JointTraining(), grpo) if evolve == "joint" else None
        # plain numbers: the optimizer saves them, and a checkpoint may hold nothing but data
        self.learning_rate, self.weight_decay = float(learning_rate), float(weight_decay)
        self.lr_scheduler_type, self.warmup_steps = lr_scheduler_type, int(warmup_steps)
        self.max_grad_norm, self.accumulate = float(max_grad_norm), accumulate
        self.max_nonfinite_steps, self.seed = max_nonfinite_steps, seed
        untrained = copy.deepcopy(sampler).requires_grad_(False)
        self.arms: dict[str, FrameSampler] = {**(baselines or {}), "before": untrained, "after": sampler}
        self.answering = Answering(
            mllm, store_frame_tokens=store_frame_tokens, rows_per_forward=rows_per_forward,
            max_new_tokens=max_new_tokens, canary=canary,
        )  # fmt: skip
        self.initial_answering = None
        if self.tokens is not None and self.tokens.initial is not None:
            self.initial_answering = Answering(
                self.tokens.initial, store_frame_tokens=store_frame_tokens, rows_per_forward=rows_per_forward,
                max_new_tokens=max_new_tokens, canary=False,
            )  # fmt: skip
        self._nonfinite_in_a_row = 0

    # ---- rollouts ----

    def policies(self, batch: QuestionBatch) -> FramePolicy:
        """One forward of the sampler."""
        return self.sampler.policies(batch)

    def generators(self, batch: QuestionBatch) -> list[torch.Generator]:
        """A generator for each question, seeded by (seed, step, sample_id): the same rollouts on any ranks."""
        return [
            torch.Generator(self.device).manual_seed(seed_of(f"{self.seed}/{self.global_step}/{q.sample_id}"))
            for q in batch.questions
        ]

    def answer(self, batch: QuestionBatch, selection: Selection, text: bool = False, initial: bool = False) -> Rollouts:
        """Shows every selection to the MLLM and takes its option scores, and its answers in text where asked for.

        ``initial`` asks the MLLM as it was before joint training.
        """
        answering = self.initial_answering if initial else self.answering
        assert answering is not None
        return answering.answer(self._source, batch, selection, text=text)

    def judge(self, rollouts: Rollouts) -> Tensor:
        """Runs every reward term; total reward (B, G).

        Raises:
            RuntimeError: a term raised; names the term, the question and the answers.
        """
        for name, reward in self.rewards.items():
            try:
                term = reward(rollouts)
            except Exception as error:
                questions = [rollouts.metadata(b) for b in range(len(rollouts.batch))]
                raise RuntimeError(
                    f"reward {name!r} raised {error!r} on questions {questions}, answers {rollouts.texts}"
                ) from error
            expected = tuple(rollouts.selection.candidate_index.shape[:2])
            if tuple(term.shape) != expected:
                raise ValueError(f"reward {name!r} returned {tuple(term.shape)}, expected (B, G) = {expected}")
            if term.isinf().any():
                raise ValueError(f"reward {name!r} is infinite; NaN is how a term says that it does not apply")
            rollouts.rewards[name] = term.to(self.device, torch.float32)
        return grpo.total_reward(rollouts.rewards, self.reward_weights)

    # ---- training ----

    def training_step(self, batch: QuestionBatch, batch_idx: int) -> dict[str, Any]:
        self.answering.seconds.clear()
        started = time.perf_counter()
        with self.answering.timed("sample"):
            policy = self.policies(batch)
            selection = policy.sample(self.num_frames, self.grpo.num_generations, self.generators(batch))
        rollouts, spoken = self.roll_out(batch, selection)
        reward = self.judge(rollouts)
        advantages = grpo.group_advantages(reward, self.grpo.scale_rewards)
        with self.answering.timed("update"):
            last_batch = (batch_idx + 1) % self.accumulate == 0
            self.update(batch, policy, selection, advantages, spoken, last_batch=last_batch)
        self._source.count_batch()
        self.answering.seconds["total"] = time.perf_counter() - started
        self._log_rollouts(rollouts, reward, policy)
        return {"rollouts": rollouts, "reward": reward, "policy": policy}

    def roll_out(self, batch: QuestionBatch, selection: Selection) -> tuple[Rollouts, Spoken | None]:
        """Answers to every selection; drawn, with their tokens, where the MLLM is trained on them."""
        options = any(r.needs_options for r in self.rewards.values())
        if self.tokens is None:
            text = any(r.needs_text for r in self.rewards.values())
            return self.answering.answer(self._source, batch, selection, options=options, text=text), None
        temperature, seed = self.tokens.settings.temperature, f"{self.seed}/{self.global_step}/answers"
        return self.answering.speak(self._source, batch, selection, temperature, seed, options=options)

    def update(
        self,
        batch: QuestionBatch,
        policy: FramePolicy,
        selection: Selection,
        advantages: Tensor,
        spoken: Spoken | None,
        last_batch: bool,
    ) -> None:
        """``num_iterations`` gradient steps on one set of rollouts; the first reuses the policy that drew them."""
        optimizer = self.optimizers()
        for iteration in range(self.grpo.num_iterations):
            if iteration:
                policy = self.policies(batch)
            loss = self.policy_loss(batch, policy, selection, advantages)
            if spoken is not None:
                loss = loss + self.token_loss(spoken, advantages)
            self.manual_backward(loss / self.accumulate)
            if last_batch:
                self._step(optimizer, loss)

    def policy_loss(
        self, batch: QuestionBatch, policy: FramePolicy, selection: Selection, advantages: Tensor
    ) -> Tensor:
        """GRPO loss of the draws, less the entropy bonus; the reference of ``beta`` is the untrained sampler.

        Scalar with graph.
        """
        log_probs = policy.log_prob(selection.candidate_index).flatten(0, 1)
        mask = selection.mask.flatten(0, 1).to(log_probs)
        reference = None
        if self.grpo.beta > 0:
            with torch.no_grad():
                untrained = self.arms["before"].policies(batch)
                reference = untrained.log_prob(selection.candidate_index).flatten(0, 1)
        result = grpo.grpo_loss(
            self.grpo,
            log_probs,
            selection.log_probs.flatten(0, 1),
            advantages.flatten(),
            mask,
            ref_log_probs=reference,
            num_items=mask.sum(),
        )
        if result.kl_nats is not None:
            self.log("policy/kl_nats", result.kl_nats)
        self.log("policy/ratio_clipped_frac", result.clipped_frac)
        self.log("train/loss", result.loss.detach())
        return result.loss - self.grpo.entropy_coef * policy.entropy().mean()

    def token_loss(self, spoken: Spoken, advantages: Tensor) -> Tensor:
        """GRPO loss of the answers' tokens, weighted. Scalar with graph."""
        assert self.tokens is not None
        result = self.tokens.loss(spoken, advantages.flatten(), self.answering.rows_per_forward)
        self.log("tokens/loss", result.loss.detach())
        self.log("tokens/ratio_clipped_frac", result.clipped_frac)
        lengths = [len(ids) for ids in spoken.generation.token_ids]
        self.log("tokens/length", sum(lengths) / len(lengths))
        if result.kl_nats is not None:
            self.log("tokens/kl_nats", result.kl_nats)
        return self.tokens.settings.loss_weight * result.loss

    def _step(self, optimizer: Any, loss: Tensor) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norms = {
            group["name"]: torch.nn.utils.clip_grad_norm_(group["params"], self.max_grad_norm)
            for group in optimizer.param_groups
        }
        finite = all(bool(torch.isfinite(norm)) for norm in norms.values()) and bool(torch.isfinite(loss))
        self.log("train/nonfinite_step", 0.0 if finite else 1.0)
        if finite:
            self._nonfinite_in_a_row = 0
            self.log("policy/grad_norm", norms["sampler"])
            if "mllm" in norms:
                self.log("tokens/grad_norm", norms["mllm"])
        else:
            self._nonfinite_in_a_row += 1
            if self._nonfinite_in_a_row >= self.max_nonfinite_steps:
                raise RuntimeError(
                    f"loss or gradient was not finite in {self._nonfinite_in_a_row} steps in a row "
                    f"(max_nonfinite_steps); last loss {loss.item()}"
                )
            for parameter in parameters:
                parameter.grad = None
        optimizer.step()  # without gradients this changes nothing but counts the step
        optimizer.zero_grad()
        scheduler = self.lr_schedulers()
        scheduler.step()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Named groups of the one optimizer."""
        sampler = {"name": "sampler", "params": list(self.sampler.parameters()), "lr": self.learning_rate,
                   "weight_decay": self.weight_decay}  # fmt: skip
        if self.tokens is None:
            return [sampler]
        settings = self.tokens.settings
        mllm = {"name": "mllm", "params": list(self.tokens.parameters()), "lr": float(settings.learning_rate),
                "weight_decay": float(settings.weight_decay)}  # fmt: skip
        return [sampler, mllm]

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(self.parameter_groups())
        max_steps = self.trainer.max_steps if self.trainer.max_steps > 0 else None
        if max_steps is None and self.lr_scheduler_type not in ("constant", "constant_with_warmup"):
            raise ValueError(
                f"lr_scheduler_type {self.lr_scheduler_type!r} needs trainer.max_steps, to know where it ends"
            )
        schedules = [self._schedule(self.warmup_steps, 0, max_steps)]
        if self.tokens is not None:
            settings = self.tokens.settings
            schedules.append(self._schedule(settings.warmup_steps, settings.freeze_steps, max_steps))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedules)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def _schedule(self, warmup_steps: int, freeze_steps: int, max_steps: int | None) -> Callable[[int], float]:
        """A group's learning rate as a share of its largest, by update; 0 while it is frozen."""
        stand_in = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        rest = None if max_steps is None else max_steps - freeze_steps
        share = get_scheduler(self.lr_scheduler_type, stand_in, warmup_steps, rest).lr_lambdas[0]
        return lambda step: 0.0 if step < freeze_steps else float(share(step - freeze_steps))

    # ---- evaluation ----

    @torch.no_grad()
    def evaluate(self, batch: QuestionBatch, selection: Selection, initial: bool = False) -> dict[str, Tensor]:
        """Right or wrong, probability of the right option, and evidence found, each float32 (B,)."""
        rollouts = self.answer(batch, selection, initial=initial)
        assert rollouts.option_log_probs is not None
        answer = rollouts.answer_index.to(self.device)
        log_probs = rollouts.option_log_probs[:, 0]
        return {
            "correct": ((rollouts.chosen_option[:, 0] == answer) & (answer >= 0)).float(),
            "probability": log_probs.gather(1, answer[:, None])[:, 0].exp(),
            "evidence_found": evidence_found(batch, selection.candidate_index[:, 0]),
        }

    def on_validation_epoch_start(self) -> None:
        self._val_rows: list[tuple[str, float, float]] = []

    def validation_step(self, batch: QuestionBatch, batch_idx: int) -> None:
        result = self.evaluate(batch, self.policies(batch).mode(self.num_frames))
        kinds = [str(q.groups.get("kind", "")) for q in batch.questions]
        self._val_rows += zip(kinds, result["correct"].tolist(), result["evidence_found"].tolist(), strict=True)

    def on_validation_epoch_end(self) -> None:
        kind, correct, found = (np.array(column) for column in zip(*gather_lists(self._val_rows), strict=True))
        self.log("val/accuracy", float(correct.mean()), prog_bar=True)
        self.log("val/evidence_found", float(np.nanmean(found)) if np.isfinite(found).any() else float("nan"))
        for name in sorted(set(kind) - {""}):
            self.log(f"val/accuracy_{name}", float(correct[kind == name].mean()))

    @torch.no_grad()
    def test_step(self, batch: QuestionBatch, batch_idx: int) -> list[dict[str, Any]]:
        """One row for each question and arm."""
        blind = torch.full((len(batch), 1, self.num_frames), -1, device=self.device)
        chosen = {
            "blind": blind,
            **{name: s.policies(batch).mode(self.num_frames).candidate_index for name, s in self.arms.items()},
            "oracle": oracle_selection(batch, self.num_frames).to(self.device),
        }
        asked = [(arm, index, False) for arm, index in chosen.items()]
        if self.initial_answering is not None:  # what the MLLM's own training adds to the same frames
            asked += [(f"{arm}, initial mllm", chosen[arm], True) for arm in ("uniform", "after") if arm in chosen]
        rows = []
        for arm, index, initial in asked:
            selection = Selection(index, torch.zeros(index.shape, device=self.device))
            result = self.evaluate(batch, selection, initial)
            for b, question in enumerate(batch.questions):
                rows.append(
                    {
                        "sample_id": question.sample_id,
                        "video": question.video,
                        **question.groups,
                        "arm": arm,
                        **{name: float(values[b]) for name, values in result.items()},
                    }
                )
        return rows

    @torch.no_grad()
    def predict_step(self, batch: QuestionBatch, batch_idx: int) -> Rollouts:
        """The best selection of each question with the MLLM's answer in text, and option probabilities where there are
        options."""
        selection = self.policies(batch).mode(self.num_frames)
        return self.answer(batch, selection, text=True)

    # ---- Lightning ----

    @property
    def _source(self) -> FrameSource:
        return self.trainer.datamodule

    def prepare_data(self) -> None:
        if self.answering.store_frame_tokens:
            splits = self._source.splits(self.trainer.state.fn.value)
            self._source.extract([self.trainer.datamodule.encoder, self.mllm], splits)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}
        checkpoint["temperature"] = getattr(self.sampler, "temperature", None)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint["state_dict"]
        other = {
            n for n, p in self.named_parameters() if p.requires_grad and (n not in saved or saved[n].shape != p.shape)
        }
        if other:
            raise ValueError(f"this checkpoint is of another sampler: {sorted(other)} are missing or of another shape")
        if checkpoint.get("temperature") is not None:
            self.sampler.temperature = checkpoint["temperature"]

    def on_train_batch_start(self, batch: QuestionBatch, batch_idx: int) -> None:
        self.mllm.eval()

    def _log_rollouts(self, rollouts: Rollouts, reward: Tensor, policy: FramePolicy) -> None:
        size = len(rollouts.batch)
        entropy = policy.entropy().detach()
        metrics: dict[str, Any] = {
            "reward/total": reward.nanmean(),
            "reward/std": reward.std(dim=1).nanmean(),
            "reward/zero_std_frac": grpo.zero_std(reward).float().mean(),
            "policy/entropy_nats": entropy.mean(),
            "policy/effective_frames": entropy.exp().mean(),
            **{f"reward/{name}": term.nanmean() for name, term in rollouts.rewards.items()},
            **{f"time/{part}_s": seconds for part, seconds in self.answering.seconds.items()},
        }
        if rollouts.selection.mask.logical_not().any():
            metrics["policy/shrunk_frac"] = (~rollouts.selection.mask.all(-1)).float().mean()
        self.log_dict({k: v for k, v in metrics.items() if k != "reward/total"}, batch_size=size)
        self.log("reward/total", metrics["reward/total"], batch_size=size, prog_bar=True)
        if rollouts.texts is not None:
            unread = [
                parse_option(t, q.options) is None
                for q, texts in zip(rollouts.batch.questions, rollouts.texts, strict=True)
                for t in texts
            ]
            self.log("reward/unparsed_frac", sum(unread) / len(unread), batch_size=size)
