"""What training is compared with: ways to choose frames, each with somebody to answer."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from modules.parsing import parse_option
from modules.records import QuestionBatch, Selection
from modules.selection.base import FrameSampler
from modules.selection.evidence import evidence_coverage, oracle_selection
from modules.systems.answering import Answering
from modules.systems.frame_source import FrameSource
from modules.systems.queries import QueryWriter


@dataclass(frozen=True)
class Arm:
    """A sampler, who answers, and who writes its queries (None: the question is the query)."""

    sampler: FrameSampler
    answering: Answering
    writer: QueryWriter | None = None
    writing: Answering | None = None
    """Whose MLLM writes."""

    def choose(self, source: FrameSource, batch: QuestionBatch, num_frames: int) -> Selection:
        """The K best frames of each question, on the most probable queries; (B, 1, K)."""
        asked = batch
        if self.writer is not None and self.writing is not None:
            asked = self.writer.write(self.writing, source, batch, num_frames, 1).batch(batch)
        return self.sampler.policies(asked).mode(num_frames)


def arms_of(
    sampler: FrameSampler,
    baselines: dict[str, FrameSampler],
    answering: Answering,
    writer: QueryWriter | None,
    initial: Answering | None,
) -> dict[str, Arm]:
    """What a sampler in training is compared with.

    Args:
        sampler: as it trains; a copy of it stays as it is now.
        baselines: by name.
        answering: who answers.
        writer: of queries, if they are written.
        initial: the MLLM as it was, where it is trained and a copy kept; it shows what its own training adds: the same
            frames answered, the same questions searched, by what it was.
    """
    untrained = copy.deepcopy(sampler).requires_grad_(False)
    arms = {
        **{name: Arm(baseline, answering) for name, baseline in baselines.items()},
        "before": Arm(untrained, answering, writer, answering),
        "after": Arm(sampler, answering, writer, answering),
    }
    if writer is not None:
        arms["after, question only"] = Arm(sampler, answering)
    if initial is None:
        return arms
    for name in ("uniform", "after"):
        if name in arms:
            arms[f"{name}, initial mllm"] = Arm(arms[name].sampler, initial, arms[name].writer, arms[name].writing)
    if writer is not None:
        arms["after, initial queries"] = Arm(sampler, answering, writer, initial)
        arms["start"] = Arm(untrained, initial, writer, initial)
    return arms


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
    """Right or wrong, probability of the right option, evidence found and repeated, each float32 (B,).

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
    found, repeated = evidence_coverage(batch, selection.candidate_index[:, 0])
    return {
        "correct": ((chosen == answer) & (answer >= 0)).float(),
        "probability": probability,
        "evidence_found": found,
        "evidence_repeated": repeated,
    }
