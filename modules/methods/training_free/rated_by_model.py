"""Scores that the answering model gives: it is shown a frame at a time and asked whether that helps to answer."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.rule import Rule, chosen_by
from modules.records import QuestionBatch, Selection
from modules.seeds import seed_of
from modules.selection.policies import FramePolicy
from modules.systems.answering import Answering
from modules.systems.frame_source import FrameSource
from modules.systems.readouts import Readout


class RatedByModel(Readout):
    """A rule over the probability of "yes", of the model that answers, local or served.

    Every frame that the rule asks about is one row of the model: a few dozen for DIG and FOCUS, all candidates for a
    rule that reads every score. They are counted in the reply's cost as frames shown; the sampler beside it, whose
    policy is not looked at, may be `modules.methods.training_free.uniform.Uniform`.

    # DIG's official code: a number of 0 to 100 that the model writes at temperature 0.7, 0 where it cannot be read;
    here: the probability of the first of two options, which cannot fail to be read.

    Args:
        rule: chooses; its own scorer is not asked.
        wording: of what the model is asked; ``{question}`` stands for the question.
        options: what it may say, the one that speaks for the frame first.
    """

    def __init__(
        self,
        *,
        rule: Rule,
        wording: str = "Does this frame of the video help to answer the question: {question}",
        options: tuple[str, str] = ("yes", "no"),
    ) -> None:
        super().__init__()
        if "{question}" not in wording:
            raise ValueError(f"wording={wording!r}: it has to say {{question}} where the question stands")
        self.rule, self.wording, self.options = rule, wording, options

    def choose(
        self, policy: FramePolicy, source: FrameSource, batch: QuestionBatch, answering: Answering, num_frames: int
    ) -> Selection:
        seen = [self._seen(source, batch, b, answering) for b in range(len(batch))]
        chosen = chosen_by(self.rule, seen, batch.mask, num_frames)
        rated = [real.nonzero().flatten()[frames.asked] for frames, real in zip(seen, batch.mask.cpu(), strict=True)]
        everything = self.rule.uses_features
        looked_at = chosen.looked_at if everything else tuple(rated)
        return Selection(chosen.candidate_index, chosen.log_probs, looked_at=looked_at)

    def _seen(self, source: FrameSource, batch: QuestionBatch, b: int, answering: Answering) -> RatedFrames:
        real, question = batch.mask[b], batch.questions[b]
        asked = replace(
            question,
            question=self.wording.replace("{question}", question.question),
            options=self.options,
            answer_index=0,
            wording=None,
        )
        tensors = (batch.features, batch.mask, batch.timestamps_s, batch.queries)
        one = QuestionBatch([asked], [batch.candidates[b]], *(t[b : b + 1] for t in tensors))

        def rate(index: Tensor) -> Tensor:
            rows = real.cpu().nonzero().flatten()[index][None, :, None].to(batch.mask.device)
            shown = Selection(rows, torch.zeros(rows.shape, device=rows.device))
            said = answering.answer(source, one, shown).option_log_probs
            assert said is not None, "a question with options is scored"
            return said[0, :, 0].exp()

        features = batch.features[b][real].flatten(1)
        return RatedFrames(
            rate=rate,
            features=features if self.rule.uses_features else features.new_empty(len(features), 0),
            timestamps_s=batch.timestamps_s[b][real],
            seed=seed_of(f"{self.rule.seed}/{question.sample_id}"),
        )
