"""A sampler and the MLLM that reads its frames: TSPO, MSJoE, ReFoCUS, and every rule that needs no training."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from modules.records import QuestionBatch, Selection
from modules.selection.base import FrameSampler
from modules.selection.selection_row import SelectionRow
from modules.systems.answering import Answering
from modules.systems.base import Reply, Setting, VideoSystem, answer_of, selection_of
from modules.systems.costs import costs_of
from modules.systems.frame_choice import FrameChoice
from modules.systems.frame_source import FrameSource
from modules.systems.queries import QueryWriter
from modules.systems.readouts import MostProbable, Readout


class SamplerSystem(VideoSystem):
    """Chooses K frames of the candidates and shows them to an MLLM.

    Args:
        sampler: chooses; left out where ``like`` names whose it is.
        readout: how frames are taken from the sampler's policy; the most probable ones by default.
        query_writer: has the MLLM write what the sampler looks for; left out, it is the question.
        like: name of another system whose sampler and queries this one takes, e.g. to read them out in another way.
        answering: who answers; of the common setting by default.
        query_answering: whose MLLM writes the queries; the one that answers by default.
        num_frames: K of this system alone; that of the common setting by default.
    """

    def __init__(
        self,
        *,
        sampler: FrameSampler | None = None,
        readout: Readout | None = None,
        query_writer: QueryWriter | None = None,
        like: str | None = None,
        answering: Answering | None = None,
        query_answering: Answering | None = None,
        num_frames: PositiveInt | None = None,
    ) -> None:
        super().__init__()
        if (sampler is None) == (like is None):
            raise ValueError("a sampler system has either a sampler or, as `like`, the name of a system that has one")
        self.choice = None if sampler is None else FrameChoice(sampler, query_writer)
        self.readout, self.like = readout or MostProbable(), like
        self._answering, self._query_answering, self._num_frames = answering, query_answering, num_frames

    @classmethod
    def of(
        cls, choice: FrameChoice, answering: Answering | None = None, query_answering: Answering | None = None
    ) -> SamplerSystem:
        """A system that shares its choice of frames, and the work on it, with others.

        Args:
            choice: sampler and who writes its queries.
            answering: who answers; of the common setting by default.
            query_answering: whose MLLM writes the queries; the one that answers by default.
        """
        system = cls(sampler=choice.sampler, answering=answering, query_answering=query_answering)
        system.choice = choice
        return system

    @property
    def sampler(self) -> FrameSampler:
        """Whose policy the frames are taken from."""
        assert self.choice is not None, "before `prepare`, a system that is like another has no sampler"
        return self.choice.sampler

    @property
    def sampler_place(self) -> str | None:
        return "choice.sampler" if self.like is None else None

    def prepare(self, name: str, setting: Setting, others: dict[str, VideoSystem]) -> None:
        super().prepare(name, setting, others)
        if self.like is None:
            assert self.choice is not None
            self.choice.begin()
            return
        other = others.get(self.like)
        if not isinstance(other, SamplerSystem) or other.like is not None:
            known = [n for n, s in others.items() if isinstance(s, SamplerSystem) and s.like is None]
            raise ValueError(f"system {name!r} is like {self.like!r}, which has no sampler; there are {known}")
        # shared, but part of the other one alone: its weights are saved and loaded once
        object.__setattr__(self, "choice", other.choice)

    @property
    def num_frames(self) -> int:
        """K."""
        return self._num_frames or self.setting.num_frames

    @property
    def frames_per_question(self) -> int:
        return self.num_frames if self.setting.answering.decodes else 0

    @property
    def answering(self) -> Answering:
        """Who answers."""
        return self._answering or self.setting.answering

    @property
    def answerings(self) -> list[Answering]:
        """Those of this system alone, beside the one that all share."""
        return [answering for answering in (self._answering, self._query_answering) if answering is not None]

    def describe(self) -> str:
        assert self.choice is not None
        ways = [] if type(self.readout) is MostProbable else [type(self.readout).__name__]
        ways += [] if self.choice.query_writer is None else [type(self.choice.query_writer).__name__]
        return ", ".join([self.choice.digest(), *ways])

    @torch.no_grad()
    def answer(self, batch: QuestionBatch, source: FrameSource) -> list[Reply]:
        assert self.choice is not None
        setting, answering = self.setting, self.answering
        with costs_of(batch, {answering, self._query_answering or answering}) as costs:
            started = time.perf_counter()
            policy, scores = self.choice.policy(source, batch, self._query_answering or answering, self.num_frames)
            selection = self.readout.choose(policy, source, batch, answering, self.num_frames)
            costs.seconds["choose"] = time.perf_counter() - started
            rollouts = answering.answer(
                source, batch, selection, options=setting.score_options, text=setting.write_text
            )
        replies = []
        rows = self._rows(batch, selection, scores)
        for b, (row, cost) in enumerate(zip(rows, costs.each(), strict=True)):
            looked = self._looked_at(batch, b, selection)
            num_scored = int(batch.candidates[b].frames_of(looked)[0].numel())
            shown = selection.candidate_index[b, 0].cpu()
            read = torch.cat([looked, shown[shown >= 0]]).unique()
            num_decoded = batch.candidates[b].frames_of(read)[0].numel()
            if answering.mllm.reads_features:
                num_decoded = batch.candidates[b].num_frames
            cost = replace(cost, frames_decoded=num_decoded, frames_scored=num_scored)
            replies.append(Reply(answer_of(rollouts, b, self.name, row.timestamps_s), row, cost))
        return replies

    def _looked_at(self, batch: QuestionBatch, b: int, selection: Selection) -> Tensor:
        """int64 (n,), the candidates that were read to choose frames for question b."""
        if selection.looked_at is not None:
            return selection.looked_at[b].cpu()
        return torch.arange(len(batch.candidates[b]) if self.sampler.reads_features else 0)

    @property
    def asks_to_choose(self) -> bool:
        """Whether an MLLM has a part in the choice of frames: it writes queries, or its answers decide."""
        return self.choice is not None and (
            self.choice.query_writer is not None or type(self.readout) is not MostProbable
        )

    @torch.no_grad()
    def select(self, batch: QuestionBatch, source: FrameSource, num_frames: int) -> list[SelectionRow]:
        """Where it looks to answer each of B questions, which are not answered.

        Unless it `asks_to_choose`, no MLLM is needed, and the system need not have been prepared.

        Args:
            batch: B questions with their candidates.
            source: of frames and text features.
            num_frames: K.
        """
        assert self.choice is not None
        if not self.asks_to_choose:
            policy, scores = self.choice.policy(source, batch, None, num_frames)
            return self._rows(batch, policy.mode(num_frames), scores)
        answering = self.answering
        policy, scores = self.choice.policy(source, batch, self._query_answering or answering, num_frames)
        return self._rows(batch, self.readout.choose(policy, source, batch, answering, num_frames), scores)

    def _rows(self, batch: QuestionBatch, selection: Selection, scores: Tensor | None) -> list[SelectionRow]:
        digest = self.describe()
        return [
            selection_of(
                batch, b, self.name, selection.candidate_index[b, 0], None if scores is None else scores[b], digest
            )
            for b in range(len(batch))
        ]


def shown(system: VideoSystem, batch: QuestionBatch, source: FrameSource, selection: Selection) -> list[Reply]:
    """Replies of a system whose frames are given; see `modules.systems.yardsticks`."""
    setting = system.setting
    with costs_of(batch, {setting.answering}) as costs:
        rollouts = setting.answering.answer(
            source, batch, selection, options=setting.score_options, text=setting.write_text
        )
    replies = []
    for b, cost in enumerate(costs.each()):
        row = selection_of(batch, b, system.name, selection.candidate_index[b, 0], None, system.describe())
        # memories of a video are made of all its frames, whichever of them are read
        reads_all = bool(row.frame_ids) and setting.answering.mllm.reads_features
        num_decoded = batch.candidates[b].num_frames if reads_all else len(row.frame_ids)
        cost = replace(cost, frames_decoded=num_decoded)
        looked = row if row.frame_ids else None
        replies.append(Reply(answer_of(rollouts, b, system.name, row.timestamps_s), looked, cost))
    return replies
