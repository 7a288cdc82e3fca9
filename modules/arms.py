"""What training is compared with: ways to choose frames, each with somebody to answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from modules.answering import Answering, FrameSource
from modules.evidence import evidence_found, oracle_selection
from modules.query_writing import QueryWriter
from modules.records import QuestionBatch, Selection
from modules.rewards.accuracy import parse_option
from modules.samplers.base import FrameSampler


@dataclass(frozen=True)
class Arm:
    """A sampler, who writes its queries (None: the question is the query), and who answers."""

    sampler: FrameSampler
    answering: Answering
    writer: QueryWriter | None = None

    def choose(self, source: FrameSource, batch: QuestionBatch, num_frames: int) -> Selection:
        """The K best frames of each question, on the most probable queries; (B, 1, K)."""
        asked = batch if self.writer is None else self.writer.write(source, batch, 1).batch(batch)
        return self.sampler.policies(asked).mode(num_frames)


def fixed_selections(batch: QuestionBatch, num_frames: int) -> dict[str, Selection]:
    """No frame at all, and the evidence: the floor and the ceiling, (B, 1, K)."""
    blind = torch.full((len(batch), 1, num_frames), -1, device=batch.features.device)
    return {
        name: Selection(index, torch.zeros(index.shape, device=index.device))
        for name, index in {
            "blind": blind,
            "oracle": oracle_selection(batch, num_frames).to(batch.features.device),
        }.items()
    }


@torch.no_grad()
def judge(
    answering: Answering, source: FrameSource, batch: QuestionBatch, selection: Selection, by_text: bool
) -> dict[str, Tensor]:
    """Right or wrong, probability of the right option, and evidence found, each float32 (B,).

    Args:
        answering: who answers.
        source: of frames.
        batch: B questions.
        selection: (B, 1, K).
        by_text: read the generated answer, as one that begins with a thought has to be; its probability is then 0 or 1.
    """
    rollouts = answering.answer(source, batch, selection, options=not by_text, text=by_text)
    answer = rollouts.answer_index.to(selection.candidate_index.device)
    if by_text:
        assert rollouts.texts is not None
        said = [parse_option(t[0], q.options) for t, q in zip(rollouts.texts, batch.questions, strict=True)]
        chosen = torch.tensor([-1 if i is None else i for i in said], device=answer.device)
        probability = ((chosen == answer) & (answer >= 0)).float()
    else:
        assert rollouts.option_log_probs is not None
        chosen = rollouts.chosen_option[:, 0]
        probability = rollouts.option_log_probs[:, 0].gather(1, answer.clamp(min=0)[:, None])[:, 0].exp()
    return {
        "correct": ((chosen == answer) & (answer >= 0)).float(),
        "probability": probability,
        "evidence_found": evidence_found(batch, selection.candidate_index[:, 0]),
    }
