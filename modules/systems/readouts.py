"""Ways to take K frames from a policy at inference: the most probable ones, a draw, or the best of several draws.

ReFoCUS's published numbers are one draw at temperature 1 without a fixed seed (official scripts: the first of 64), on
videos of more than 128 candidates; shorter ones get evenly spaced frames. Neither is the default here: `MostProbable`
is, and `EvenlyWhereFew` has to be asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jsonargparse.typing import PositiveInt
from torch import nn

from modules.mllms.base import MLLM
from modules.records import QuestionBatch, Selection
from modules.rewards.margin import margin_of
from modules.seeds import seed_of
from modules.selection.even_spacing import evenly_spaced_rows
from modules.selection.policies import FramePolicy
from modules.systems.answering import Answering
from modules.systems.frame_source import FrameSource


class Readout(ABC, nn.Module):
    """Chooses frames for a batch from its policy."""

    @abstractmethod
    def choose(
        self, policy: FramePolicy, source: FrameSource, batch: QuestionBatch, answering: Answering, num_frames: int
    ) -> Selection:
        """(B, 1, K).

        Args:
            policy: of the B questions.
            source: of frames, for readouts that look at answers.
            batch: B questions.
            answering: who will answer.
            num_frames: K.
        """


class MostProbable(Readout):
    """The policy's mode: the most probable frame at every draw."""

    def choose(
        self, policy: FramePolicy, source: FrameSource, batch: QuestionBatch, answering: Answering, num_frames: int
    ) -> Selection:
        return policy.mode(num_frames)


class Sampled(Readout):
    """One draw, the same for a question whatever it is batched with.

    Args:
        seed: of the draws.
    """

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def choose(
        self, policy: FramePolicy, source: FrameSource, batch: QuestionBatch, answering: Answering, num_frames: int
    ) -> Selection:
        return self.draw(policy, batch, num_frames, 1)

    def draw(self, policy: FramePolicy, batch: QuestionBatch, num_frames: int, num_draws: int) -> Selection:
        """(B, num_draws, K)."""
        device = batch.features.device
        seeds = [seed_of(f"{self.seed}/{question.sample_id}") for question in batch.questions]
        return policy.sample(num_frames, num_draws, [torch.Generator(device).manual_seed(seed) for seed in seeds])


class BestOf(Sampled):
    """Of several draws the one on which a model is surest: the greatest margin between its two most probable options.

    That is the reward with the model's own answer in the place of the right one, which inference does not know. A
    question without options gets its first draw.

    Args:
        num_draws: N.
        reward_model: whose sureness counts; None: the one that answers.
        rows_per_forward: of the reward model.
        seed: of the draws.
    """

    def __init__(
        self,
        *,
        num_draws: PositiveInt = 8,
        reward_model: MLLM | None = None,
        rows_per_forward: PositiveInt = 8,
        seed: int = 0,
    ) -> None:
        super().__init__(seed=seed)
        self.num_draws, self.rows_per_forward = num_draws, rows_per_forward
        self.reward_model = None if reward_model is None else reward_model.requires_grad_(False)

    def choose(
        self, policy: FramePolicy, source: FrameSource, batch: QuestionBatch, answering: Answering, num_frames: int
    ) -> Selection:
        surest = answering
        if self.reward_model is not None:
            surest = Answering(self.reward_model, rows_per_forward=self.rows_per_forward, canary=False)
        drawn = self.draw(policy, batch, num_frames, self.num_draws)
        scores = surest.answer(source, batch, drawn).option_log_probs
        best = torch.zeros(len(batch), dtype=torch.int64, device=drawn.candidate_index.device)
        if scores is not None:
            best = margin_of(scores, scores.argmax(-1)).argmax(1).to(best)
        rows = best[:, None, None].expand(-1, 1, num_frames)
        return Selection(drawn.candidate_index.gather(1, rows), drawn.log_probs.gather(1, rows))


class EvenlyWhereFew(Readout):
    """Evenly spaced frames for videos of few candidates, another readout for the rest.

    Args:
        of: for the rest.
        max_candidates: of a video that gets evenly spaced frames (official scripts: 128).
    """

    def __init__(self, *, of: Readout, max_candidates: PositiveInt = 128) -> None:
        super().__init__()
        self.of, self.max_candidates = of, max_candidates

    def choose(
        self, policy: FramePolicy, source: FrameSource, batch: QuestionBatch, answering: Answering, num_frames: int
    ) -> Selection:
        chosen = self.of.choose(policy, source, batch, answering, num_frames)
        num_candidates = batch.mask.sum(1)
        few = (num_candidates <= self.max_candidates)[:, None, None]
        evenly = evenly_spaced_rows(num_candidates, num_frames)[:, None]
        return Selection(evenly.where(few, chosen.candidate_index), chosen.log_probs.masked_fill(few, 0.0))
