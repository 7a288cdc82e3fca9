"""How the paper learns which memories to read: from the language model's loss of the right answer on the ones drawn.

Memories are drawn by Gumbel top-K (`modules.methods.videostreaming.straight_through`); what the reader gets is
``rows @ memories``, through which the loss reaches the scores. At first the divergence from the marked segments is
added (`modules.methods.videostreaming.marked_segments`). Nothing of the rewards is used.

Differences: in the paper everything learns from this loss; here the reader and the memories are as they are. Draws are
those of the rollouts, G a question, since their noise comes from the same seeds; the paper says no number.
"""

from __future__ import annotations

import logging

import torch
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from modules.methods.videostreaming.answer_nats import answer_nats
from modules.methods.videostreaming.marked_segments import marked_segments, segment_divergence
from modules.methods.videostreaming.straight_through import StraightThroughDraws, straight_through_top_k
from modules.mllms.base import FrameTokens, Row
from modules.mllms.transformers_mllm import TransformersMLLM
from modules.records import QuestionBatch
from modules.rl.selection_loss import SelectionLoss
from modules.rl.training_batch import TrainingBatch
from modules.rl.update_metrics import UpdateMetrics
from modules.selection.policies import FramePolicy, PlackettLuce
from modules.systems.answering import Answering

_log = logging.getLogger(__name__)


class AnswerLoss(SelectionLoss):
    """The loss of the right answer through straight-through draws, and at first the divergence from marked segments.

    Args:
        kl_steps: updates at the start in which the divergence is added; 0 never, None always.
        answer_weight: of the loss of the answers; 0 learns from the marked segments alone.
        temperature: of the softmax whose gradient is taken; how sharp the draws are, is the sampler's.
    """

    def __init__(
        self,
        *,
        kl_steps: NonNegativeInt | None = 0,
        answer_weight: NonNegativeFloat = 1.0,
        temperature: PositiveFloat = 1.0,
    ) -> None:
        if not answer_weight and kl_steps is not None:
            raise ValueError(
                f"answer_weight: 0 leaves nothing to learn from after kl_steps={kl_steps}: kl_steps has to be null"
            )
        self.kl_steps, self.answer_weight, self.temperature = kl_steps, answer_weight, temperature
        self._unmarked_said = False

    def prepare(self, answering: Answering, metrics: UpdateMetrics) -> None:
        super().prepare(answering, metrics)
        if not isinstance(answering.mllm, TransformersMLLM) or not answering.mllm.reads_features:
            raise ValueError(
                f"{type(answering.mllm).__name__} reads frames, through which no loss reaches their choice: with this "
                "selection_loss model.mllm has to be a MemoryReader or a LanguageModelReader"
            )
        if any(parameter.requires_grad for parameter in answering.mllm.parameters()):
            raise ValueError(
                "evolve: joint trains the reader from the rewards of its own answers, and this selection_loss would "
                "train it from right answers as well: evolve has to be 'sampler', or selection_loss left out"
            )
        self.reader = answering.mllm

    def loss(self, batch: TrainingBatch, policy: FramePolicy, num_picks: Tensor, batch_share: float) -> Tensor:
        if not isinstance(policy, PlackettLuce):
            raise ValueError(f"Gumbel top-K draws by scores, and this sampler's policy is {type(policy).__name__}")
        loss = policy.logits.new_zeros(())
        if self.kl_steps is None or batch.trajectories.step < self.kl_steps:
            loss = loss + self._divergence(batch.trajectories.sampler_batch, policy)
        if self.answer_weight:
            loss = loss + self.answer_weight * self._answers(batch, policy)
        self.metrics.add({"train/loss": loss.detach()})
        return loss * batch_share

    def _divergence(self, batch: QuestionBatch, policy: PlackettLuce) -> Tensor:
        """Scalar, the mean over all questions; one without a segment has none."""
        segments = marked_segments(batch)
        marked = segments.any(1)
        divergence = segment_divergence(policy.logits, policy.mask, segments)
        self.metrics.add({"policy/unmarked_frac": 1 - marked.float().mean()})
        if marked.any():
            self.metrics.add({"policy/segment_kl_nats": divergence.detach()[marked].mean()})
        if not marked.all() and not self._unmarked_said:
            self._unmarked_said = True
            _log.warning(
                "%d of %d questions of a batch have no marked segment among their clips, %s for one: their choice "
                "learns nothing from the divergence (policy/unmarked_frac)",
                int((~marked).sum()),
                len(batch),
                batch.questions[int((~marked).nonzero()[0])].sample_id,
            )
        return divergence.mean()

    def _answers(self, batch: TrainingBatch, policy: PlackettLuce) -> Tensor:
        """Scalar, the mean over questions and their draws."""
        trajectories, device = batch.trajectories, policy.logits.device
        drawn = trajectories.sampler_selection.candidate_index
        draws = straight_through_top_k(
            policy.logits,
            policy.mask,
            drawn.shape[2],
            temperature=self.temperature,
            num_rollouts=drawn.shape[1],
            generator=[torch.Generator(device).manual_seed(seed) for seed in trajectories.seeds],
        )
        rows = memory_rows(trajectories.sampler_batch, draws)
        size = self.answering.rows_per_forward
        chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
        parts = [
            answer_nats(self.reader, chunk)
            if len(chunks) == 1
            else checkpoint(answer_nats, self.reader, chunk, use_reentrant=False)
            for chunk in chunks
        ]
        loss = torch.cat(parts).mean()
        self.metrics.add({"policy/answer_nats": loss.detach()})
        return loss


def memory_rows(batch: QuestionBatch, draws: StraightThroughDraws) -> list[Row]:
    """B x G rows that show what was drawn, with gradient to the scores.

    Args:
        batch: B questions whose features (B, N, P, W) are memories.
        draws: G of each.
    """
    shown = torch.einsum("bgvn,bnpw->bgvpw", draws.rows, batch.features)
    rows = []
    for b, (question, candidates) in enumerate(zip(batch.questions, batch.candidates, strict=True)):
        for tokens, index in zip(shown[b], draws.candidate_index[b].cpu(), strict=True):
            real = index[index >= 0]
            times_s = candidates.timestamps_s[real].float()
            rows.append(Row(question, FrameTokens(tokens[: len(real)], times_s), torch.arange(len(real))))
    return rows
