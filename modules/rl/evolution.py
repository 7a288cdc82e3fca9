"""The LightningModule that wires it all: roll out, reward, compare, update.

One training step, for B questions:

0. with a ``query_writer``, the MLLM writes queries for each of G trajectories, on previews (`modules.systems.queries`);
1. one forward of the sampler gives the policies; G selections of K frames are drawn;
2. the union of a question's chosen frames is encoded once; the MLLM answers every selection in one batched forward;
3. reward terms judge the answers; advantages are taken inside each group of G;
4. the GRPO loss on the log-probabilities of the draws updates the sampler, ``num_iterations`` times.

``evolve: sampler`` trains the sampler with the MLLM frozen. ``evolve: joint`` trains both from the same rollouts: an
answer is drawn for every selection, and the GRPO loss of all that the MLLM has written (`modules.rl.token_training`)
joins the sampler's.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, ClassVar, Literal

import lightning as L
import numpy as np
import torch
from jsonargparse.typing import PositiveInt

from modules.checkpoints.checkpoint_files import plain_files, refuse_nonfinite
from modules.checkpoints.weights import load_weights, refuse_unknown
from modules.distributed.precision import settle_precision
from modules.distributed.ranks import gather_lists
from modules.encoders.base import FrameEncoder
from modules.encoders.frame_demand import FrameDemand
from modules.mllms.base import MLLM
from modules.records import QuestionBatch, Rollouts
from modules.rl.advantages import Advantage, GroupRelative
from modules.rl.compared_systems import TRAINED, compared_systems, untrained_copy
from modules.rl.grpo import GRPO
from modules.rl.optimization import Optimization
from modules.rl.optimizer_step import OptimizerStep, optimizer_step_for
from modules.rl.policy_update import PolicyUpdate, TrainingBatch
from modules.rl.reward_sum import Rewards, RewardSum, RewardTerm
from modules.rl.rollout_metrics import rollout_metrics
from modules.rl.rollout_phase import RolloutPhase, Trajectories
from modules.rl.token_training import JointTraining, TokenTraining
from modules.rl.update_metrics import UpdateMetrics
from modules.selection.base import FrameSampler
from modules.selection.evidence import coverage
from modules.systems.answering import Answering
from modules.systems.answering_settings import AnsweringSettings
from modules.systems.base import Reply, Setting, answer_all, described, prepared
from modules.systems.frame_source import FrameSource
from modules.systems.grading import most_probable_option, named_option
from modules.systems.queries import QueryWriter
from modules.systems.sampler_system import SamplerSystem
from modules.systems.stage_data import data_of

_log = logging.getLogger(__name__)


class EvolutionModule(L.LightningModule, FrameDemand):
    """Trains a frame sampler from an MLLM's own answers.

    Args:
        sampler: what learns.
        mllm: what answers; frozen, unless both evolve.
        rewards: terms of the reward with their weights, by the name that each is logged under; None leaves one out, as
            an overlay may want to.
        advantage: what a rollout is compared with; the others of its group by default (``grpo.scale_rewards``).
        evolve: ``sampler``, or ``joint``: the MLLM is trained too.
        joint: how, under ``evolve: joint``.
        query_writer: the MLLM writes queries first; left out, the question is the only query.
        init_from: checkpoint of an earlier run to start from; parts that it does not have stay as they are.
        grpo: the update.
        num_frames: K.
        optimizer: AdamW, its schedule, and how many batches an update has.
        answering: how frames are shown to the MLLM and its answers taken.
        grade_by: what validation and test take for the answer, the most probable of the ``options`` or the generated
            ``text``; the latter where answers begin with a thought.
        baselines: samplers that are tested beside this one.
        seed: of the rollouts.
    """

    former_keys: ClassVar[dict[str, str]] = {
        "reward_weights": "a weight now stands beside its reward: rewards.NAME.weight, and rewards.NAME.mllm_weight, "
        "from which the MLLM learns under evolve: joint",
        "sampler_reward_weights": "a weight now stands beside its reward: rewards.NAME.weight",
        **{
            field.name: f"it is now {group}.{field.name}"
            for group, settings in (("optimizer", Optimization), ("answering", AnsweringSettings))
            for field in dataclasses.fields(settings)
        },
    }
    """Keys that recipes had once, and what to write in their place."""

    def __init__(
        self,
        *,
        sampler: FrameSampler,
        mllm: MLLM,
        rewards: dict[str, RewardTerm | None],
        advantage: Advantage | None = None,
        evolve: Literal["sampler", "joint"] = "sampler",
        joint: JointTraining | None = None,
        query_writer: QueryWriter | None = None,
        init_from: str | None = None,
        grpo: GRPO,
        num_frames: PositiveInt = 8,
        optimizer: Optimization | None = None,
        answering: AnsweringSettings | None = None,
        grade_by: Literal["options", "text"] = "options",
        baselines: dict[str, FrameSampler] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        optimizer, answering = optimizer or Optimization(), answering or AnsweringSettings()
        self.reward_sum = RewardSum(rewards, joint=evolve == "joint")
        if evolve == "joint" and query_writer is not None:
            drawn, trained = query_writer.temperature, (joint or JointTraining()).temperature
            if drawn != trained:
                raise ValueError(
                    f"queries are drawn at query_writer.temperature={drawn} and trained at joint.temperature="
                    f"{trained}: both turns are one sequence of one policy, so these have to be the same"
                )
        self.automatic_optimization = False
        self.strict_loading = False  # a checkpoint holds what is trained; the frozen parts come from their own files
        self.sampler, self.mllm = sampler, mllm.requires_grad_(False)
        self.advantage = advantage or GroupRelative(scale_rewards=grpo.scale_rewards)
        self.evolve, self.grpo, self.num_frames, self.grade_by = evolve, grpo, num_frames, grade_by
        if init_from is not None:
            load_weights(self, init_from)
        self.token_training = TokenTraining(mllm, joint or JointTraining(), grpo) if evolve == "joint" else None
        self.optimization, self.seed = optimizer, seed
        self.answering = Answering(mllm, **dataclasses.asdict(answering))
        self.rollout_phase = RolloutPhase(sampler, self.answering, query_writer, num_frames, grpo.num_generations, seed)
        initial = None if self.token_training is None else self.token_training.initial
        untrained = untrained_copy(sampler)
        self.systems = compared_systems(
            sampler,
            untrained,
            baselines or {},
            query_writer,
            self.answering,
            None if initial is None else Answering(initial, **{**dataclasses.asdict(answering), "canary": False}),
        )
        self.chosen_option = named_option if grade_by == "text" else most_probable_option
        self.metrics = UpdateMetrics()
        self.policy_update = PolicyUpdate(
            sampler,
            untrained,
            self.token_training,
            grpo,
            optimizer.accumulate,
            answering.rows_per_forward,
            self.metrics,
            OptimizerStep(optimizer.max_grad_norm, optimizer.max_nonfinite_steps),
        )
        self._window: list[TrainingBatch] = []
        self._gathered_for_evaluation = ExitStack()

    # ---- training ----

    def training_step(self, batch: QuestionBatch, batch_idx: int) -> dict[str, Any]:
        self.answering.stopwatch.clear()
        started = time.perf_counter()
        with self.gathered():
            trajectories = self.roll_out(batch)
        rewards = self.score_rewards(trajectories.rollouts)
        reward = rewards.sampler if self.token_training is None else rewards.mllm
        token_advantages = self.advantage(trajectories.rollouts, reward)
        selection_advantages = self.advantage(trajectories.rollouts, rewards.sampler)
        self._window.append(TrainingBatch(trajectories, token_advantages, selection_advantages))
        complete = len(self._window) == self.optimization.accumulate
        if complete:
            with self.answering.stopwatch.timed("update"):
                self.policy_update.run(self, self._window)
            for _ in self._window:  # a checkpoint in the middle of a window begins it again
                self._source.count_batch()
            self._window = []
        self.answering.stopwatch.seconds["total"] = time.perf_counter() - started
        self.metrics.add(rollout_metrics(trajectories, rewards.terms, reward, self.answering.stopwatch.seconds))
        if complete:
            self._log_means(self.metrics.reduced(), every_n_steps=self.trainer.log_every_n_steps)  # type: ignore[attr-defined]
        return {"rollouts": trajectories.rollouts, "rewards": rewards, "reward": reward, "policy": trajectories.policy}

    def _log_means(self, metrics: dict[str, float], every_n_steps: int = 1) -> None:
        """Logs under the number of the update; Lightning's own number counts batches, and repeats what it has."""
        for name, value in metrics.items():
            self.log(name, value, batch_size=1, logger=False, prog_bar=name in ("reward/total", "val/accuracy"))
        if self.global_step % every_n_steps == 0:
            for logger in self.loggers:
                logger.log_metrics(metrics, self.global_step)

    def roll_out(self, batch: QuestionBatch) -> Trajectories:
        """G answered selections of each question; drawn, with their tokens, where the MLLM is trained on them."""
        return self.rollout_phase.run(
            self._source,
            batch,
            self.global_step,
            options=self.reward_sum.needs_options,
            text=self.reward_sum.needs_text,
            temperature=None if self.token_training is None else self.token_training.settings.temperature,
        )

    def score_rewards(self, rollouts: Rollouts) -> Rewards:
        """Every term of the reward, and their sums."""
        return self.reward_sum.score(rollouts, self.device)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Named groups of the one optimizer: the sampler's, and the MLLM's where it is trained."""
        rate, decay = float(self.optimization.learning_rate), float(self.optimization.weight_decay)
        groups = [
            {
                "name": f"sampler_{part}" if part else "sampler",
                "params": group.parameters,
                "lr": rate * group.lr_share,
                "weight_decay": decay,
            }
            for part, group in self.sampler.parameter_groups().items()
        ]
        return groups if self.token_training is None else [*groups, self.token_training.parameter_group()]

    def configure_optimizers(self) -> dict[str, Any]:
        groups = self.parameter_groups()
        max_steps = self.trainer.max_steps if self.trainer.max_steps > 0 else None
        schedules = [self.optimization.schedule(max_steps)] * len(groups)
        if self.token_training is not None:
            settings = self.token_training.settings
            schedules[-1] = self.optimization.schedule(
                max_steps, warmup_steps=settings.warmup_steps, freeze_steps=settings.freeze_steps
            )
        optimizer = torch.optim.AdamW(groups)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedules)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    # ---- evaluation ----

    def _begin_evaluation(self) -> None:
        """Gathers once for a whole evaluation: ranks may have different numbers of batches, and it takes all ranks."""
        by_text = self.grade_by == "text"
        setting = Setting(
            answering=self.answering, num_frames=self.num_frames, score_options=not by_text, write_text=by_text
        )
        prepared(self.systems, setting)
        self._gathered_for_evaluation.enter_context(self.gathered())

    def _end_evaluation(self) -> None:
        self._gathered_for_evaluation.close()

    on_test_epoch_start = _begin_evaluation
    on_test_epoch_end = _end_evaluation

    def on_validation_epoch_start(self) -> None:
        self._begin_evaluation()
        self._val_rows: list[tuple[str, str, float, float]] = []

    @torch.no_grad()
    def validation_step(self, batch: QuestionBatch, batch_idx: int) -> None:
        for reply, question in zip(self.systems[TRAINED].answer(batch, self._source), batch.questions, strict=True):
            answer = reply.answer
            correct = float(self.chosen_option(answer) == answer.answer_index)
            found, _ = coverage(answer.evidence_s, answer.timestamps_s)
            self._val_rows.append((question.sample_id, str(question.groups.get("kind", "")), correct, found))

    def on_validation_epoch_end(self) -> None:
        self._end_evaluation()
        rows = gather_lists(self._val_rows, key=lambda row: row[0])
        _, kind, correct, found = (np.array(column) for column in zip(*rows, strict=True))
        means = {"val/accuracy": float(correct.mean()), "val/evidence_found": float("nan")}
        if np.isfinite(found).any():
            means["val/evidence_found"] = float(np.nanmean(found))
        means |= {f"val/accuracy_{name}": float(correct[kind == name].mean()) for name in sorted(set(kind) - {""})}
        self._log_means(means)

    @torch.no_grad()
    def test_step(self, batch: QuestionBatch, batch_idx: int) -> list[Reply]:
        """A reply to each question of each system that is compared."""
        return answer_all(self.systems, batch, self._source)

    def describe(self) -> dict[str, Any]:
        """For the evaluation card."""
        return {"num_frames": self.num_frames, **self.mllm.describe(), "systems": described(self.systems)}

    # ---- Lightning ----

    @property
    def _source(self) -> FrameSource:
        return data_of(self.trainer)

    def gathered(self) -> AbstractContextManager[None]:
        """Inside, every rank has every parameter, however the strategy holds them."""
        return self.policy_update.optimizer_step.gathered(self)

    @contextmanager
    def stored_encoders(self) -> Iterator[list[FrameEncoder]]:
        if not self.answering.store_frame_tokens:
            yield []
            return
        with self.gathered():  # an MLLM that was trained sharded lies scattered over all ranks
            yield [self.mllm]

    @property
    def frames_per_question(self) -> int:
        if self.answering.store_frame_tokens:
            return 0
        return self.num_frames * (self.grpo.num_generations if self.trainer.training else 1)

    def setup(self, stage: str) -> None:
        self.policy_update.optimizer_step = optimizer_step_for(
            self.trainer.strategy, self.optimization.max_grad_norm, self.optimization.max_nonfinite_steps
        )
        settle_precision(
            self.trainer.strategy, self.mllm, None if self.token_training is None else self.token_training.initial
        )
        self.trainer.strategy.checkpoint_io = plain_files(self.trainer.strategy.checkpoint_io)
        device = self.trainer.strategy.root_device
        for system in self.systems.values():  # copies are no part of what Lightning moves, saves and synchronises
            if isinstance(system, SamplerSystem):
                system.sampler.to(device)
                for answering in system.answerings:
                    answering.mllm.to(device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        if "state_dict" in checkpoint:  # DeepSpeed writes its own
            checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}
        checkpoint["temperature"] = getattr(self.sampler, "temperature", None)
        refuse_nonfinite(checkpoint)  # on all ranks, of which one will write

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "state_dict" in checkpoint:
            saved = checkpoint["state_dict"]
            refuse_unknown(saved, self)
            other = {
                n
                for n, p in self.named_parameters()
                if p.requires_grad and (n not in saved or saved[n].shape != getattr(p, "ds_shape", p.shape))  # ZeRO-3's
            }
            if other:
                raise ValueError(
                    f"this checkpoint is of another sampler: {sorted(other)} are missing or of another shape"
                )
        if checkpoint.get("temperature") is not None:
            self.sampler.temperature = checkpoint["temperature"]

    def on_fit_start(self) -> None:
        if self.trainer.is_global_zero:
            _log.info("weights of the rewards: %s", self.reward_sum)

    def on_train_batch_start(self, batch: QuestionBatch, batch_idx: int) -> None:
        self.mllm.eval()
