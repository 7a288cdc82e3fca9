"""The LightningModule that wires it all: roll out, reward, compare, update.

One training step, for B questions:

0. with a ``query_writer``, the MLLM writes queries for each of G trajectories, on previews (`modules.systems.queries`);
1. one forward of the sampler gives the policies; G selections of K frames are drawn (`modules.rl.rollout_phase`);
2. the union of a question's chosen frames is encoded once; the MLLM answers every selection in one batched forward;
3. reward terms judge the answers; advantages are taken inside each group of G;
4. the GRPO loss on the log-probabilities of the draws, or another one (`modules.rl.selection_loss`), updates the
   sampler, ``num_iterations`` times (`modules.rl.policy_update`).

Who learns beside the sampler is the objective's affair (`modules.rl.objective`); validation and test are in
`modules.rl.evaluated_training`.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import torch
from jsonargparse.typing import PositiveInt

from modules.checkpoints.checkpoint_files import plain_files
from modules.checkpoints.weights import load_weights
from modules.distributed.precision import settle_precision
from modules.encoders.base import FrameEncoder
from modules.encoders.frame_demand import FrameDemand
from modules.mllms.base import MLLM
from modules.records import QuestionBatch, Rollouts
from modules.rl.checkpoint_contents import keep_trained, take_trained
from modules.rl.comparison import Comparison, move_copies, untrained_copy
from modules.rl.evaluated_training import EvaluatedTraining
from modules.rl.former_keys import FORMER_KEYS
from modules.rl.grpo import GRPO
from modules.rl.objective import Evolve, objective_of
from modules.rl.optimization import Optimization
from modules.rl.policy_update import PolicyUpdate
from modules.rl.reward_sum import Rewards, RewardTerm
from modules.rl.rollout_answering import RolloutAnswering
from modules.rl.rollout_metrics import rollout_metrics
from modules.rl.rollout_phase import RolloutPhase, Trajectories
from modules.rl.selection_loss import GRPOSelectionLoss, SelectionLoss
from modules.rl.token_training import JointTraining
from modules.rl.training_batch import TrainingBatch
from modules.rl.update_metrics import UpdateMetrics, log_means
from modules.rl.validation import Validation
from modules.selection.base import FrameSampler
from modules.systems.answering import Answering
from modules.systems.base import described, prepared
from modules.systems.queries import QueryWriter

_log = logging.getLogger(__name__)


class EvolutionModule(EvaluatedTraining, FrameDemand):
    """Trains a frame sampler from an MLLM's own answers.

    Args:
        sampler: what learns.
        mllm: what answers; frozen, unless both evolve.
        rewards: terms of the reward with their weights, by the name that each is logged under; None leaves one out, as
            an overlay may want to.
        evolve: ``sampler``, or ``joint``: the MLLM is trained too.
        joint: how, under ``evolve: joint``.
        query_writer: the MLLM writes queries first; left out, the question is the only query.
        init_from: checkpoint of an earlier run to start from; parts that it does not have stay as they are.
        grpo: the rollouts of a question, what they are compared with, and the loss.
        selection_loss: what the sampler learns from; by default that loss of the rewards of its draws.
        num_frames: K.
        optimizer: AdamW, its schedule, and how many batches an update has.
        answering: how frames are shown to the MLLM and its answers taken, or which agent follows what was chosen.
        comparison: what validation and test compare.
    """

    former_keys: ClassVar[dict[str, str]] = FORMER_KEYS

    def __init__(
        self,
        *,
        sampler: FrameSampler,
        mllm: MLLM,
        rewards: dict[str, RewardTerm | None],
        evolve: Evolve = "sampler",
        joint: JointTraining | None = None,
        query_writer: QueryWriter | None = None,
        init_from: str | None = None,
        grpo: GRPO,
        selection_loss: SelectionLoss | None = None,
        num_frames: PositiveInt = 8,
        optimizer: Optimization | None = None,
        answering: RolloutAnswering | None = None,
        comparison: Comparison | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.strict_loading = False  # a checkpoint holds what is trained; the frozen parts come from their own files
        optimizer, answering = optimizer or Optimization(), answering or RolloutAnswering()
        comparison = comparison or Comparison()
        self.sampler, self.mllm, self.agent = sampler, mllm.requires_grad_(False), answering.agent
        if self.agent is not None and (evolve == "joint" or query_writer is not None):
            raise ValueError(
                f"{type(self.agent).__name__} answers and asks in its own words, and only the sampler learns: with "
                "answering.agent evolve has to be 'sampler', and query_writer left out"
            )
        self.grpo, self.num_frames, self.optimization = grpo, num_frames, optimizer
        if init_from is not None:
            load_weights(self, init_from)
        self.metrics, self.answering = UpdateMetrics(), Answering.of(mllm, answering)
        self.objective = objective_of(
            evolve,
            rewards,
            mllm=mllm,
            settings=joint or JointTraining(),
            grpo=grpo,
            query_writer=query_writer,
            accumulate=optimizer.accumulate,
            rows_per_forward=answering.rows_per_forward,
            metrics=self.metrics,
        )
        self.rollout_phase = RolloutPhase(
            sampler,
            self.answering,
            query_writer,
            num_frames,
            grpo.num_generations,
            grpo.seed,
            self.agent,
            leave_out=answering.unanswered == "leave_out",
            drawn_by=joint.rollouts if joint is not None and evolve == "joint" else None,
        )
        untrained, initial = untrained_copy(sampler), None
        if self.objective.initial is not None:
            initial = Answering.of(self.objective.initial, dataclasses.replace(answering, canary=False))
        self.systems = comparison.systems(sampler, untrained, query_writer, self.answering, initial, self.agent)
        self.setting = comparison.setting(self.answering, num_frames)
        if self.agent is not None:
            prepared(self.systems, self.setting)
        self.validation = Validation(comparison.grading.chosen_option)
        loss = selection_loss or GRPOSelectionLoss(grpo, untrained)
        loss.prepare(self.answering, self.metrics)
        self.policy_update = PolicyUpdate(sampler, loss, self.objective, grpo.num_iterations, optimizer, self.metrics)
        self._window: list[TrainingBatch] = []

    # ---- training ----

    def training_step(self, batch: QuestionBatch, batch_idx: int) -> dict[str, Any]:
        stopwatch, started = self.answering.stopwatch, time.perf_counter()
        stopwatch.clear()
        with self.gathered():
            trajectories = self.roll_out(batch)
        rollouts, rewards = trajectories.rollouts, self.score_rewards(trajectories.rollouts)
        reward = self.objective.reward(rewards)
        token_advantages = self.grpo.advantage_of(rollouts, reward)
        selection_advantages = self.grpo.advantage_of(rollouts, rewards.sampler)
        self._window.append(TrainingBatch(trajectories, token_advantages, selection_advantages))
        complete = len(self._window) == self.optimization.accumulate
        if complete:
            with stopwatch.timed("update"):
                self.policy_update.run(self, self._window)
            for _ in self._window:  # a checkpoint in the middle of a window begins it again
                self.source.count_batch()
            self._window = []
        stopwatch.seconds["total"] = time.perf_counter() - started
        self.metrics.add(rollout_metrics(trajectories, rewards.terms, reward, stopwatch.seconds))
        if complete:
            # the weights too, every time: a run that goes on may have others
            means = self.metrics.reduced() | self.objective.reward_sum.weights()
            log_means(self, means, self.trainer.log_every_n_steps)  # type: ignore[attr-defined]
        return {"rollouts": rollouts, "rewards": rewards, "reward": reward, "policy": trajectories.policy}

    def roll_out(self, batch: QuestionBatch) -> Trajectories:
        """G answered selections of each question; drawn, with their tokens, where the MLLM is trained on them."""
        return self.rollout_phase.run(
            self.source,
            batch,
            self.global_step,
            options=self.objective.reward_sum.needs_options,
            text=self.objective.reward_sum.needs_text,
            temperature=self.objective.answer_temperature,
        )

    def score_rewards(self, rollouts: Rollouts) -> Rewards:
        """Every term of the reward, and their sums."""
        return self.objective.reward_sum.score(rollouts, self.device)

    @property
    def scattered(self) -> MLLM:
        """What ZeRO holds in shares."""
        return self.mllm

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Named groups of the one optimizer: the sampler's, and the MLLM's where it is trained."""
        return [*self.optimization.groups_of(self.sampler), *self.objective.parameter_groups()]

    def configure_optimizers(self) -> dict[str, Any]:
        max_steps = self.trainer.max_steps if self.trainer.max_steps > 0 else None
        schedules = [self.optimization.schedule(max_steps)] * len(self.optimization.groups_of(self.sampler))
        schedules += self.objective.schedules(self.optimization, max_steps)
        optimizer = torch.optim.AdamW(self.parameter_groups())
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedules)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    # ---- Lightning ----

    def describe(self) -> dict[str, Any]:
        """For the evaluation card."""
        return {"num_frames": self.num_frames, **self.mllm.describe(), "systems": described(self.systems)}

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
        if self.agent is not None:
            return self.agent.frames_per_question
        if not self.answering.decodes:
            return 0
        return self.num_frames * (self.grpo.num_generations if self.trainer.training else 1)

    def setup(self, stage: str) -> None:
        self.policy_update.settle(self.trainer.strategy)
        settle_precision(self.trainer.strategy, self.mllm, self.objective.initial)
        self.trainer.strategy.checkpoint_io = plain_files(self.trainer.strategy.checkpoint_io)
        move_copies(self.systems, self.trainer.strategy.root_device)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        keep_trained(self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        take_trained(self, checkpoint)

    def on_fit_start(self) -> None:
        if self.trainer.is_global_zero:
            _log.info("weights of the rewards: %s", self.objective.reward_sum)
        self.objective.reward_sum.training_begins(self.source.questions("train"))

    def on_train_batch_start(self, batch: QuestionBatch, batch_idx: int) -> None:
        self.mllm.eval()
        if self.agent is not None:
            self.agent.eval()
