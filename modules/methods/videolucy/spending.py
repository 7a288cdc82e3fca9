"""What one question may cost, and what it has cost so far: calls, tokens and seconds.

The forced answer is part of the budget: a call, and the tokens that it reads, are kept back for it, so that a question
whose budget is spent is answered all the same. Where the reasoner cannot count the tokens of a call before it is made
(a server), they are estimated from the characters that a token had in the calls before, so a limit of tokens can be
missed by as much as one estimate is wrong.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from modules.records import Cost
from modules.roles.reasoner import Message, Reasoner, Written

_CHARACTERS_PER_TOKEN = 3.0
"""Before anything was counted; English has about 4, other languages fewer."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits of one question; None sets none.

    Args:
        calls: of the reasoner, the forced answer among them.
        tokens: that the reasoner reads and writes.
        seconds: after which nothing more is looked at; what is under way then is waited for.
    """

    calls: int | None = None
    tokens: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if any(limit is not None and limit <= 0 for limit in (self.calls, self.tokens, self.seconds)):
            raise ValueError(f"{self}: a limit is above 0, or null for none")


class Spending:
    """The reasoner's calls for one question; a `modules.roles.reasoner.CallMeter`.

    Args:
        budget: that is kept.
        reasoner: whose calls they are.
    """

    def __init__(self, budget: Budget, reasoner: Reasoner) -> None:
        self.budget, self.reasoner = budget, reasoner
        self.calls: list[Cost] = []
        """One by one, in order."""
        self.characters_read = 0
        """By all calls together."""
        self._num_kept_back, self._allowed = 1, False
        self._started, self._reading = time.perf_counter(), 0

    def spend_reserve(self) -> None:
        """From here on the forced answer is asked for: its first call is allowed, others as far as they fit."""
        self._num_kept_back, self._allowed = 0, True

    def objection(self, messages: Sequence[Message]) -> str:
        """Why a call may not be made: it would go over the budget, or use what is kept back; empty where it may."""
        self._reading = characters_of(messages)
        if self._allowed:
            self._allowed = False
            return ""
        num_calls, length = 1 + self._num_kept_back, self._length(messages)
        most = self.reasoner.context_tokens
        if most is not None and length > most:
            return f"the memory makes a conversation of {length} tokens, and the reasoner reads {most}"
        for name, limit, needed in (
            ("calls", self.budget.calls, len(self.calls) + num_calls),
            ("tokens", self.budget.tokens, self.tokens + num_calls * (length + self._usual_answer)),
            ("seconds", self.budget.seconds, time.perf_counter() - self._started),
        ):
            if limit is not None and needed > limit:
                return f"the budget of {limit:g} {name} is spent"
        return ""

    def after(self, written: Written, seconds: float) -> None:
        """Adds a call."""
        self.characters_read += self._reading
        self.calls.append(
            Cost(
                text_tokens_in=written.tokens_in,
                text_tokens_out=written.tokens_out,
                calls=1,
                seconds={"reason": seconds},
            )
        )

    @property
    def cost(self) -> Cost:
        """Of all calls."""
        return sum(self.calls, Cost())

    @property
    def tokens(self) -> int:
        """Read and written so far; estimated where a server does not tell."""
        read, written = self.cost.text_tokens_in, self.cost.text_tokens_out
        return (math.ceil(self.characters_read / _CHARACTERS_PER_TOKEN) if read is None else read) + (written or 0)

    def fits(self, messages: Sequence[Message]) -> bool:
        """Whether the reasoner can read so much, and the tokens that are left allow it."""
        length, most = self._length(messages), self.reasoner.context_tokens
        left = None if self.budget.tokens is None else self.budget.tokens - self.tokens - self._usual_answer
        return all(limit is None or length <= limit for limit in (most, left))

    def _length(self, messages: Sequence[Message]) -> int:
        """Tokens of a conversation."""
        counted = self.reasoner.count_tokens(messages)
        return math.ceil(characters_of(messages) / self._characters_per_token) if counted is None else counted

    @property
    def _characters_per_token(self) -> float:
        read = self.cost.text_tokens_in
        return self.characters_read / read if read else _CHARACTERS_PER_TOKEN

    @property
    def _usual_answer(self) -> int:
        """Tokens that a call has written on average."""
        return math.ceil((self.cost.text_tokens_out or 0) / max(len(self.calls), 1))


def characters_of(messages: Sequence[Message]) -> int:
    """Characters of a conversation."""
    return sum(len(message.text) for message in messages)


def thinned(lines: Sequence[str], max_characters: int) -> list[str]:
    """Evenly spaced lines, as many as fit with their line ends; at least one, cut off where even that is too long."""
    whole = sum(map(len, lines)) + len(lines)
    count = len(lines) if whole <= max_characters else max(1, len(lines) * max_characters // max(whole, 1))
    while count > 0:
        chosen = [lines[(2 * n + 1) * len(lines) // (2 * count)] for n in range(count)]
        if sum(map(len, chosen)) + count <= max_characters:
            return chosen
        count -= 1
    return [lines[len(lines) // 2][:max_characters]] if lines else []
