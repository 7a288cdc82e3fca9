"""Takes frames from another system's scores by a rule: what a trained sampler gains from it, without a copy of it."""

from __future__ import annotations

from modules.methods.training_free.rule import Rule, chosen_by, seen_by
from modules.records import QuestionBatch, Selection
from modules.seeds import seed_of
from modules.selection.policies import FramePolicy, PlackettLuce
from modules.systems.answering import Answering
from modules.systems.frame_source import FrameSource
from modules.systems.readouts import Readout


class ByRule(Readout):
    """A rule over the scores of the sampler whose policy it is; in a recipe beside ``like``.

    Args:
        rule: chooses; its own scorer is not asked.
    """

    def __init__(self, *, rule: Rule) -> None:
        super().__init__()
        self.rule = rule

    def choose(
        self, policy: FramePolicy, source: FrameSource, batch: QuestionBatch, answering: Answering, num_frames: int
    ) -> Selection:
        if not isinstance(policy, PlackettLuce):
            raise ValueError(
                f"{type(self.rule).__name__} chooses by scores, and a {type(policy).__name__} policy has none: it "
                "picks one frame after another"
            )
        scores = policy.logits if policy.scores is None else policy.scores
        seen = seen_by(self.rule, scores, batch.features, batch.mask, batch.timestamps_s)
        for frames, question in zip(seen, batch.questions, strict=True):
            frames.seed = seed_of(f"{self.rule.seed}/{question.sample_id}")
        chosen = chosen_by(self.rule, seen, batch.mask, num_frames)
        return Selection(chosen.candidate_index, policy.log_prob(chosen.candidate_index))  # its sampler read all frames
