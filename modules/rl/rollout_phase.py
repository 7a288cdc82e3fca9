"""One phase of rollouts: from B questions to B x G answered selections, in one turn, or in two with written queries."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial

import torch

from modules.distributed.ranks import on_first_rank
from modules.mllms.completions import Completions
from modules.mllms.engine import RolloutEngine
from modules.records import QuestionBatch, Rollouts, Selection
from modules.rl.importance import EngineRollouts, with_own_log_probs
from modules.seeds import seed_of
from modules.selection.base import FrameSampler
from modules.selection.policies import FramePolicy
from modules.systems.answering import Answering
from modules.systems.frame_source import FrameSource
from modules.systems.led_agent import Agent
from modules.systems.queries import QueryWriter


@dataclass(frozen=True)
class Trajectories:
    """What one phase brought: B x G trajectories."""

    sampler_batch: QuestionBatch
    """What the sampler was given: N = B questions, or N = B x G trajectories, each with its own queries; with the
    choices of an agent in the place of frames, where one follows."""
    policy: FramePolicy
    """Of those N, with graph."""
    sampler_selection: Selection
    """As that policy drew it: (N, G or 1, K), as far as it was looked at."""
    seeds: list[int]
    """Of those draws, one a question of ``sampler_batch``."""
    step: int
    """Updates before this one."""
    rollouts: Rollouts
    """The same selection as (B, G, K), with the answers to it."""
    completions: list[Completions]
    """What the MLLM drew, a turn each, B x G texts; empty where it is not trained."""


class RolloutPhase:
    """Rolls out one batch after another.

    Args:
        sampler: chooses frames.
        answering: answers.
        writer: writes queries first; None where the question is the only query.
        num_frames: K.
        num_rollouts: G.
        seed: of every draw, together with step, sample_id and the rollout's number.
        agent: follows what was chosen and answers, in the place of ``answering``.
        leave_out: go on without a question that a served model gives no answer to.
        drawn_by: an engine that draws the answers, where not the MLLM itself does.
    """

    def __init__(
        self,
        sampler: FrameSampler,
        answering: Answering,
        writer: QueryWriter | None,
        num_frames: int,
        num_rollouts: int,
        seed: int,
        agent: Agent | None = None,
        leave_out: bool = False,
        drawn_by: EngineRollouts | None = None,
    ) -> None:
        self.leave_out, self.drawn_by = leave_out, drawn_by
        self._synced_at: int | None = None
        if drawn_by is not None:
            drawn_by.engine.prepare(answering.mllm)
        self.sampler, self.answering, self.writer, self.agent = sampler, answering, writer, agent
        self.num_frames, self.num_rollouts, self.seed = num_frames, num_rollouts, seed

    def run(
        self,
        source: FrameSource,
        batch: QuestionBatch,
        step: int,
        *,
        options: bool,
        text: bool,
        temperature: float | None,
    ) -> Trajectories:
        """Rolls out a batch.

        Args:
            source: of frames.
            batch: B questions.
            step: of training.
            options: score the options.
            text: have an answer generated, the most probable one.
            temperature: draw that answer at it, and keep its tokens; None does not.
        """
        prefix = f"{self.seed}/{step}"
        written = None
        if self.writer is not None:
            written = self.writer.write(
                self.answering, source, batch, self.num_frames, self.num_rollouts, f"{prefix}/queries"
            )
        sampler_batch = batch if written is None else written.batch(batch)
        if self.agent is not None:
            with self.answering.stopwatch.timed("describe"):
                sampler_batch = self.agent.choices(batch, source)
        names = [q.sample_id for q in batch.questions]
        if written is not None:
            names = [f"{name}/{g}" for name in names for g in range(self.num_rollouts)]
        with self.answering.stopwatch.timed("sample"):
            seeds = [seed_of(f"{prefix}/{name}") for name in names]
            generators = [torch.Generator(batch.features.device).manual_seed(seed) for seed in seeds]
            policy = self.sampler.policies(sampler_batch)
            sampler_selection = policy.sample(self.num_frames, self.num_rollouts if written is None else 1, generators)
        shape = (len(batch), self.num_rollouts, self.num_frames)
        selection = Selection(sampler_selection.candidate_index.view(shape), sampler_selection.log_probs.view(shape))
        completions = []
        if self.agent is not None:
            with self.answering.stopwatch.timed("answer"):
                rollouts = self.agent.follow(batch, sampler_batch, source, selection)
            sampler_selection = rollouts.selection
        elif temperature is None:
            rollouts = self.answering.answer(
                source, batch, selection, options=options, text=text, leave_out=self.leave_out
            )
        else:
            engine = self._synced(step)
            rollouts, answers = self.answering.speak(
                source, batch, selection, temperature, f"{prefix}/answers", options=options, engine=engine
            )
            if engine is not None and not engine.is_the_model:
                answers = with_own_log_probs(answers, self.answering.mllm, temperature, self.answering.rows_per_forward)
            completions = [answers] if written is None else [written.completions, answers]
        if written is not None:
            rollouts = dataclasses.replace(rollouts, queries=written.queries, query_features=written.features)
        return Trajectories(sampler_batch, policy, sampler_selection, seeds, step, rollouts, completions)

    def _synced(self, step: int) -> RolloutEngine | None:
        """The engine with weights no older than they may be; rank 0 gives them, and the others wait."""
        if self.drawn_by is None:
            return None
        if self._synced_at is None or not 0 <= step - self._synced_at < self.drawn_by.sync_every:
            with self.answering.stopwatch.timed("sync"):
                on_first_rank(partial(self.drawn_by.engine.sync_weights, self.answering.mllm, step))
            self._synced_at = step
        return self.drawn_by.engine
