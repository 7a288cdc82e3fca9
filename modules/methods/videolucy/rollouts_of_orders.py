"""What comes of looking at coarse memories in a given order: the rollouts by which a localizer is trained.

An order i_1, ..., i_K is drawn by Plackett-Luce. The agent looks at entry i_1, asks the reasoner, and goes on to i_2
only where that is not certain; with n looks it ends. All that follows i_n was not looked at and cannot have changed the
answer, so the draws behind it are left out (-1) and the log-probability of a trajectory is that of its *prefix*,

    log pi(i_1 ... i_n) = sum_{k <= n} [ l(i_k) - log sum_{j not in i_1 ... i_{k-1}} exp l(j) ],

which sums to 1 over all ways in which a search can go. The gradient of the expected reward R is

    E[ (R - b) sum_{k <= n} grad log pi(i_k | i_1 ... i_{k-1}) ],

and GRPO's with the loss of constant length (``loss_type: dr_grpo``, one division by K for all) is that. A mean over the
draws of each trajectory (``grpo``) divides by n, and so weighs a search that ends early more than one that goes on.
Draws behind the end would add nothing to the expectation, because their scores have mean zero, and noise to each step.

A search is a function of the question, its coarse memory and the prefix: the roles write the most probable text. So it
is made once and found again by every trajectory that begins alike, in this step and in later ones, with its cost as if
it had been made anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from modules.methods.videolucy.backtracking import backtrack
from modules.methods.videolucy.captioning import Captioning, Wanted
from modules.methods.videolucy.inquiry import Inquiry, Roles
from modules.methods.videolucy.localizers import OrderLocalizer
from modules.methods.videolucy.lucy_reply import certainty, cost_of
from modules.methods.videolucy.memory_tree import Entry
from modules.methods.videolucy.scopes import Level
from modules.methods.videolucy.spending import Budget, Spending
from modules.records import Candidates, Cost, QuestionBatch, Rollouts, Selection
from modules.roles.reasoner import Message, Reasoner, Written
from modules.systems.frame_source import FrameSource

_MOST_REMEMBERED = 2**18


@dataclass(frozen=True)
class Outcome:
    """How a search along an order ended."""

    num_looks: int
    answer: str
    cost: Cost


class RememberingReasoner(Reasoner):
    """Gives the same answer to the same conversation without asking again.

    Args:
        reasoner: that is asked.
    """

    def __init__(self, reasoner: Reasoner) -> None:
        super().__init__()
        self.reasoner = reasoner
        self._written: dict[tuple[Message, ...], Written] = {}

    @property
    def context_tokens(self) -> int | None:
        return self.reasoner.context_tokens

    def count_tokens(self, messages: Sequence[Message]) -> int | None:
        return self.reasoner.count_tokens(messages)

    def describe(self) -> dict[str, Any]:
        return self.reasoner.describe()

    def write(self, messages: Sequence[Message]) -> Written:
        key = tuple(messages)
        if key not in self._written:
            self._written[key] = self.reasoner.write(messages)
        return self._written[key]


class RememberedCaptions(Captioning):
    """What was described of one video, in memory before the store.

    Args:
        captioning: that describes what is not known.
    """

    def __init__(self, captioning: Captioning) -> None:
        super().__init__(captioning.captioner, captioning.store, captioning.clips_together)
        self.captioning = captioning
        self.known: dict[Wanted, Entry] = {}

    def entries(
        self, source: FrameSource, candidates: Candidates, levels: Sequence[Level], wanted: Sequence[Wanted]
    ) -> Iterator[Entry]:
        missing = [one for one in wanted if one not in self.known]
        for entry in self.captioning.entries(source, candidates, levels, missing) if missing else ():
            self.known[Wanted(entry.span, entry.level, entry.prompt)] = entry
        yield from (self.known[one] for one in wanted)


class OrderedSearches:
    """Searches along orders, each prefix once.

    Args:
        max_rounds: looks at most.
        budget: of each search.
    """

    def __init__(self, max_rounds: int, budget: Budget) -> None:
        self.max_rounds, self.budget = max_rounds, budget
        self._outcomes: dict[tuple[str, int], dict[tuple[int, ...], Outcome]] = {}
        """By question with its coarse memory and the length of orders, and by what was looked at until the end."""
        self._captions: dict[str, RememberedCaptions] = {}
        """By the content of the video."""

    def roles(self, roles: Roles, frames_key: str) -> Roles:
        """The same roles, who remember what they wrote about a video.

        Args:
            roles: who describe and reason.
            frames_key: of the video's frames.
        """
        if sum(len(captions.known) for captions in self._captions.values()) > _MOST_REMEMBERED:
            self._captions = {}
        captions = self._captions.setdefault(frames_key, RememberedCaptions(roles.captioning))
        return replace(roles, captioning=captions, reasoner=RememberingReasoner(roles.reasoner))

    def along(self, inquiry: Inquiry, orders: Sequence[Sequence[int]]) -> list[Outcome]:
        """Follows each of some orders until the reasoner is certain.

        Args:
            inquiry: of a question, whose coarse memory is there; it stays as it is.
            orders: places among the coarse entries.

        Raises:
            UndecodableVideoError: frames of its video cannot be decoded.
        """
        if sum(map(len, self._outcomes.values())) > _MOST_REMEMBERED:
            self._outcomes = {}
        digest = _digest(inquiry)
        found = []
        for order in orders:
            looks = tuple(order[: self.max_rounds])
            known = self._outcomes.setdefault((digest, len(looks)), {})
            prefix = next((looks[:n] for n in range(len(looks) + 1) if looks[:n] in known), None)
            if prefix is None:
                outcome = self._search(inquiry, looks)
                prefix = looks[: outcome.num_looks]
                known[prefix] = outcome
            found.append(known[prefix])
        return found

    def _search(self, inquiry: Inquiry, looks: tuple[int, ...]) -> Outcome:
        own = inquiry.fork(Spending(self.budget, inquiry.roles.reasoner))
        coarse = len(own.tree.at(0))
        finding = backtrack(own, OrderLocalizer(looks), num_relevant=coarse, max_rounds=len(looks))
        return Outcome(len(own.searched), finding.answer, cost_of(own))


def rollouts_of(outcomes: Sequence[Sequence[Outcome] | None], choices: QuestionBatch, selection: Selection) -> Rollouts:
    """Rollouts of B questions.

    Args:
        outcomes: G of each question; None where its video could not be decoded.
        choices: coarse memories of the questions.
        selection: (B, G, K) orders.
    """
    index, log_probs = selection.candidate_index, selection.log_probs
    num_rollouts, num_draws = index.shape[1:]
    withheld = [Outcome(num_draws, "", Cost())] * num_rollouts
    groups = [withheld if group is None else list(group) for group in outcomes]
    looks = torch.tensor([[outcome.num_looks for outcome in group] for group in groups], device=index.device)
    behind = torch.arange(num_draws, device=index.device) >= looks[..., None]
    options = None
    if any(question.options for question in choices.questions):
        most = max(len(question.options) for question in choices.questions)
        options = torch.full((*index.shape[:2], most), -torch.inf, device=index.device)
        for own, group, question in zip(options, groups, choices.questions, strict=True):
            for row, outcome in zip(own, group, strict=True):
                row[: len(question.options)] = torch.tensor(certainty(outcome.answer, question.options))
    return Rollouts(
        choices,
        Selection(index.masked_fill(behind, -1), log_probs.masked_fill(behind, 0.0)),
        options,
        [[outcome.answer for outcome in group] for group in groups],
        costs=[[outcome.cost for outcome in group] for group in groups],
        undecoded=tuple(b for b, group in enumerate(outcomes) if group is None),
    )


def _digest(inquiry: Inquiry) -> str:
    """Of everything that a search depends on beside its order."""
    question = inquiry.question
    told = (question.sample_id, question.question, question.options, question.wording, inquiry.tree.text())
    frames = inquiry.source.frames_key(inquiry.candidates)
    return hashlib.sha256(repr((*told, frames)).encode()).hexdigest()
