"""Who chooses where to look: the reasoner, as in the paper; a trained policy; nobody; or somebody who knows."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import nn

from modules.methods.videolucy.entry_choices import EntryChoices
from modules.methods.videolucy.frame_clock import Span
from modules.methods.videolucy.inquiry import Inquiry
from modules.methods.videolucy.memory_tree import Entry
from modules.seeds import seed_of
from modules.selection.base import FrameSampler
from modules.systems.frame_choice import FrameChoice


@dataclass(frozen=True)
class Look:
    """Where to look again."""

    entry: Entry
    instruction: str | None = None
    """For what; None leaves that to the reasoner."""


class Localizer(nn.Module, ABC):
    """Chooses among the entries of an inquiry's memory."""

    @abstractmethod
    def relevant(self, inquiry: Inquiry, num_periods: int) -> list[Entry] | None:
        """At most so many coarse entries that the question is about; None keeps all of them."""

    @abstractmethod
    def look(self, inquiry: Inquiry) -> Look:
        """One of `modules.methods.videolucy.inquiry.Inquiry.open`, of which there is at least one."""


class ReasonerLocalizer(Localizer):
    """The paper's: the language model reads the memory; where to look and for what are one call."""

    def relevant(self, inquiry: Inquiry, num_periods: int) -> list[Entry] | None:
        return inquiry.relevant(num_periods)

    def look(self, inquiry: Inquiry) -> Look:
        return Look(*inquiry.locate())


class RandomLocalizer(Localizer):
    """A control: any entry, whatever the memory says. What to look for there is the reasoner's instruction.

    Args:
        seed: a choice is a function of it, the question, and how often was looked before.
    """

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def relevant(self, inquiry: Inquiry, num_periods: int) -> list[Entry]:
        coarse = inquiry.tree.at(0)
        order = torch.randperm(len(coarse), generator=self._generator(inquiry, "relevant"))
        return [coarse[place] for place in order[:num_periods].tolist()]

    def look(self, inquiry: Inquiry) -> Look:
        entries = inquiry.open
        generator = self._generator(inquiry, str(len(inquiry.searched)))
        return Look(entries[int(torch.randint(len(entries), (), generator=generator))])

    def _generator(self, inquiry: Inquiry, what: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of(f"{self.seed}/{inquiry.question.sample_id}/{what}"))


class OrderLocalizer(Localizer):
    """Looks at coarse entries in an order that somebody has drawn. All of them are kept, so that nothing but the looks
    themselves depends on it. What to look for in each is the reasoner's instruction.

    Args:
        order: places among the coarse entries; at least as many as are looked at.
    """

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.order = list(order)

    def relevant(self, inquiry: Inquiry, num_periods: int) -> None:
        return None

    def look(self, inquiry: Inquiry) -> Look:
        coarse, is_open = inquiry.tree.at(0), inquiry.open
        return Look(next(coarse[place] for place in self.order if coarse[place] in is_open))


class PolicyLocalizer(Localizer):
    """Looks at coarse entries in the order in which a sampler of the shared contract thinks them most probable.

    Args:
        sampler: over coarse memories (`modules.methods.videolucy.entry_choices`).
    """

    def __init__(self, *, sampler: FrameSampler) -> None:
        super().__init__()
        self.choice = FrameChoice(sampler)
        self.entries: EntryChoices
        """Makes candidates of memories, as soon as its system is prepared."""
        self._orders: weakref.WeakKeyDictionary[Inquiry, OrderLocalizer] = weakref.WeakKeyDictionary()

    def relevant(self, inquiry: Inquiry, num_periods: int) -> None:
        return None

    def look(self, inquiry: Inquiry) -> Look:
        if inquiry not in self._orders:
            assert inquiry.asked is not None
            choices = self.entries.batch([inquiry], inquiry.asked, inquiry.source)
            order = self.choice.sampler.policies(choices).mode(len(choices.candidates[0])).candidate_index
            self._orders[inquiry] = OrderLocalizer(order[0, 0].tolist())
        return self._orders[inquiry].look(inquiry)


class OracleLocalizer(Localizer):
    """A ceiling: the entries in which the evidence is seen, where the data says where that is."""

    def relevant(self, inquiry: Inquiry, num_periods: int) -> list[Entry] | None:
        evidence = self._evidence(inquiry)
        seen = [entry for entry in inquiry.tree.at(0) if _most(entry, evidence)]
        return seen[:num_periods] or None

    def look(self, inquiry: Inquiry) -> Look:
        evidence = self._evidence(inquiry)
        return Look(max(inquiry.open, key=lambda entry: (_most(entry, evidence), -entry.span.first)))

    @staticmethod
    def _evidence(inquiry: Inquiry) -> list[Span]:
        spans = []
        for start_s, end_s in inquiry.question.evidence_s:
            with suppress(ValueError):  # annotations know spans that the file does not have
                spans.append(inquiry.clock.span(start_s, end_s))
        return spans


def _most(entry: Entry, evidence: list[Span]) -> Fraction:
    return max((entry.span.overlap(span) for span in evidence), default=Fraction(0))
