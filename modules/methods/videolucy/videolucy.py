"""VideoLucy (arXiv 2510.12422) as a system: an agent whose memory of a video is text, and who looks back where it has
too little.

What is the same as in the paper, and what is not, is said line by line in docs/methods/videolucy.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from jsonargparse.typing import NonNegativeInt

from modules.methods.videolucy.backtracking import FORCED, backtrack
from modules.methods.videolucy.captioning import Captioning, UndecodableVideoError
from modules.methods.videolucy.entry_choices import EntryChoices
from modules.methods.videolucy.inquiry import Inquiry, Roles
from modules.methods.videolucy.localizers import Localizer, PolicyLocalizer, ReasonerLocalizer
from modules.methods.videolucy.lucy_reply import reply_of, withheld
from modules.methods.videolucy.lucy_settings import LucySettings
from modules.methods.videolucy.memory_store import MemoryStore
from modules.methods.videolucy.role_prompts import RolePrompts
from modules.methods.videolucy.rollouts_of_orders import OrderedSearches, Outcome, rollouts_of
from modules.methods.videolucy.scopes import Scopes, levels_of
from modules.methods.videolucy.spending import Spending
from modules.records import QuestionBatch, Rollouts, Selection
from modules.roles.captioner import Captioner
from modules.roles.mllm_captioner import MLLMCaptioner
from modules.roles.reasoner import Reasoner
from modules.selection.base import FrameSampler
from modules.systems.base import Reply, Setting, VideoSystem
from modules.systems.frame_source import FrameSource
from modules.systems.led_agent import Agent


class VideoLucy(Agent):
    """Describes a video coarsely, chooses where to look again and for what, and does so until it is certain.

    Args:
        reasoner: chooses and answers.
        scopes: how long a stretch is that one caption describes, at each depth; by the length of the video.
        captioner: describes; by default the MLLM that answers for the other systems.
        localizer: chooses where to look; the reasoner by default.
        sampler: chooses where to look in the place of a localizer: among the coarse memories, of which there is one
            finer level then. It is what `modules.rl.evolution.EvolutionModule` trains.
        max_rounds: how often it looks back (paper: 5); 0 reads coarse memories alone.
        settings: prompts, memories and limits.
        like: name of another system of this class, from which everything is taken that is not said here; only
            ``localizer``, ``sampler`` and ``max_rounds`` may be.
    """

    def __init__(
        self,
        *,
        reasoner: Reasoner | None = None,
        scopes: list[Scopes] | None = None,
        captioner: Captioner | None = None,
        localizer: Localizer | None = None,
        sampler: FrameSampler | None = None,
        max_rounds: NonNegativeInt = 5,
        settings: LucySettings | None = None,
        like: str | None = None,
    ) -> None:
        super().__init__()
        if like is None and (reasoner is None or not scopes):
            raise ValueError("VideoLucy needs a reasoner and scopes, or, as `like`, the name of a system that has them")
        if like is not None and not reasoner is captioner is scopes is settings is None:
            raise ValueError(
                "with `like`, VideoLucy takes reasoner, captioner, scopes and settings of the other system"
            )
        if localizer is not None and sampler is not None:
            raise ValueError(
                "VideoLucy looks where its localizer says or where its sampler does: leave one of them out"
            )
        self.like, self.max_rounds = like, max_rounds
        self.localizer = localizer or (ReasonerLocalizer() if sampler is None else PolicyLocalizer(sampler=sampler))
        self.reasoner, self.captioner = reasoner, captioner
        self.scopes, self.settings = scopes or [], settings or LucySettings()
        self.searches = OrderedSearches(max_rounds, self.settings.budget)
        self.other: VideoLucy | None = None
        """That a sampler leads, where this is its like in a training."""
        self._described: tuple[QuestionBatch, list[Inquiry]] | None = None
        """The choices that were made last, and what they were made of."""
        self._spent: dict[str, Spending] = {}
        """By question, of those that were answered last."""
        self._num_forced = self._num_answered = 0
        self.roles: Roles
        """Who does the work, as soon as it is prepared; shared with the systems that are like this one."""

    def prepare(self, name: str, setting: Setting, others: dict[str, VideoSystem]) -> None:
        super().prepare(name, setting, others)
        if self.other is not None or self.like is not None:
            other = self.other or lucy_named(str(self.like), name, others)
            self.scopes, self.settings = other.scopes, other.settings
            self.roles = other.roles
        else:
            assert self.reasoner is not None
            captioner = self.captioner or MLLMCaptioner(mllm=setting.answering.mllm)
            store = MemoryStore(self.settings.memories)
            captioning = Captioning(captioner, store, self.settings.clips_together)
            prompts = RolePrompts(self.settings.prompts)
            self.roles = Roles(captioning, self.reasoner, prompts, self.settings.max_retries, self.settings.notation)
        self.entries = EntryChoices(self.settings.entry_features)
        if isinstance(self.localizer, PolicyLocalizer):
            self.localizer.entries = self.entries
            self.localizer.choice.begin()
            _refuse_deeper(self.scopes)

    def describe(self) -> str:
        chooses = type(self.localizer).__name__
        if isinstance(self.localizer, PolicyLocalizer):
            chooses = f"by {self.localizer.choice.digest()} of {self.settings.entry_features}"
        own = f"{type(self).__name__}, {chooses}, {self.max_rounds} rounds"
        if self.other is not None or self.like is not None:
            return f"{own}, else like {self.like if self.other is None else self.other.name}"
        levels = "; ".join("/".join(f"{level.scope_s:g}" for level in one.levels) for one in self.scopes)
        reasoner = ", ".join(f"{key} {value}" for key, value in self.roles.reasoner.describe().items())
        return (
            f"{own}, scopes {levels} s, prompts {self.roles.prompts.digest()}, "
            f"captions by {self.roles.captioning.captioner.key}, reasoner: {reasoner}"
        )

    def shortfalls(self) -> dict[str, int]:
        own: dict[str, int] = {f"of {self._num_answered} answers of {self.name} were forced": self._num_forced}
        if self.like is None and self.other is None:
            own[f"captions of {self.name} came empty"] = self.roles.captioning.num_empty
            for model in (self.reasoner, self.captioner):
                own |= {} if model is None else model.shortfalls()
        return own

    @property
    def frames_per_question(self) -> int:
        return 0  # which frames are decoded is known step by step

    @torch.no_grad()
    def answer(self, batch: QuestionBatch, source: FrameSource) -> list[Reply]:
        self._spent = {}
        return [self._answer(self.inquiry(batch, b, source), batch, b) for b in range(len(batch))]

    def inquiry(self, batch: QuestionBatch, b: int, source: FrameSource) -> Inquiry:
        """Question b of a batch, with nothing described yet."""
        candidates = batch.candidates[b]
        spending = Spending(self.settings.budget, self.roles.reasoner)
        levels = levels_of(self.scopes, candidates.duration_s)
        return Inquiry(batch.questions[b], candidates, source, levels, self.roles, spending, batch.only(b))

    # ---- as an agent that a sampler leads ----

    @property
    def sampler_place(self) -> str | None:
        return "localizer.choice.sampler" if isinstance(self.localizer, PolicyLocalizer) else None

    def led_by(self, sampler: FrameSampler) -> VideoLucy:
        if isinstance(self.localizer, PolicyLocalizer):
            raise ValueError("the sampler that is trained leads this VideoLucy: leave its own sampler out")
        led = VideoLucy(sampler=sampler, max_rounds=self.max_rounds, like=self.name)
        object.__setattr__(led, "other", self)  # not a part of it: its models are saved and moved once
        return led

    @torch.no_grad()
    def choices(self, batch: QuestionBatch, source: FrameSource) -> QuestionBatch:
        _refuse_deeper(self.scopes)
        inquiries = [self.inquiry(batch, b, source) for b in range(len(batch))]
        for inquiry in inquiries:
            inquiry.roles = self.searches.roles(self.roles, source.frames_key(inquiry.candidates))
            with suppress(UndecodableVideoError):  # its spans are known all the same, and nothing is learnt from it
                inquiry.describe_all()
        choices = self.entries.batch(inquiries, batch, source)
        self._described = choices, inquiries
        return choices

    @torch.no_grad()
    def follow(
        self, batch: QuestionBatch, choices: QuestionBatch, source: FrameSource, selection: Selection
    ) -> Rollouts:
        assert self._described is not None
        made, inquiries = self._described
        assert made is choices, "choices are followed before others are made"
        outcomes: list[list[Outcome] | None] = []
        for inquiry, orders in zip(inquiries, selection.candidate_index.tolist(), strict=True):
            try:
                outcomes.append(self.searches.along(inquiry, [[n for n in order if n >= 0] for order in orders]))
            except UndecodableVideoError:
                outcomes.append(None)
        return rollouts_of(outcomes, choices, selection)

    # ---- answering ----

    def _answer(self, inquiry: Inquiry, batch: QuestionBatch, b: int) -> Reply:
        limits: dict[str, Any] = {"num_relevant": self.settings.num_relevant, "max_rounds": self.max_rounds}
        try:
            finding = backtrack(inquiry, self.localizer, **limits)
        except UndecodableVideoError:
            return withheld(inquiry, self.name, self.setting)
        self._spent[inquiry.question.sample_id] = inquiry.spending
        self._num_answered += 1
        self._num_forced += finding.exit == FORCED
        return reply_of(inquiry, finding, batch, b, self.name, self.setting, self.describe())

    def spending_on(self, sample_id: str) -> Spending | None:
        """What a question of the last batch has cost the reasoner; None where it was not answered."""
        return self._spent.get(sample_id)


def _refuse_deeper(scopes: Sequence[Scopes]) -> None:
    """Refuses levels that a choice among coarse memories does not lead to, with a ValueError."""
    if (deepest := max(len(one.levels) for one in scopes)) > 2:
        raise ValueError(
            f"a sampler chooses among coarse memories, below which is one finer level, and scopes has {deepest}: "
            "leave the others out, or have a localizer choose"
        )


def lucy_named(like: str, name: str, others: dict[str, VideoSystem]) -> VideoLucy:
    """The system that another one is like.

    Raises:
        ValueError: it is none that has roles of its own, or comes after the one that is like it.
    """
    before: Sequence[str] = list(others)[: list(others).index(name)]
    found = others.get(like)
    if not isinstance(found, VideoLucy) or found.like is not None or like not in before:
        known = [n for n in before if isinstance(s := others[n], VideoLucy) and s.like is None]
        raise ValueError(f"system {name!r} is like {like!r}, which is none of the VideoLucy systems before it: {known}")
    return found
