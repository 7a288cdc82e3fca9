"""Who reads text and decides: a language model that is asked to fill in a form, and told what was wrong with it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol

from torch import nn

from modules.roles.checked_json import FormType, filled_form


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True)
class Written:
    """What a model wrote in one call."""

    text: str
    tokens_in: int | None
    """Of the conversation; None where a server does not tell."""
    tokens_out: int | None


@dataclass(frozen=True)
class Asked(Generic[FormType]):
    """What came of asking for a form."""

    form: FormType | None
    """None where no answer could be read, however often it was asked for."""
    text: str
    """The last answer, as it came; empty where no call was allowed."""
    calls: int
    error: str = ""
    """What was wrong with the last answer, or why there was no other; empty where it could be read."""


class CallMeter(Protocol):
    """Whoever pays for calls."""

    def objection(self, messages: Sequence[Message]) -> str:
        """Asked before each call: why it may not be made; empty where it may."""
        ...

    def after(self, written: Written, seconds: float) -> None:
        """Called after each call."""
        ...


class Reasoner(nn.Module, ABC):
    """A language model that reads a conversation and writes the next turn."""

    @abstractmethod
    def write(self, messages: Sequence[Message]) -> Written:
        """One call.

        Args:
            messages: the last is the user's.

        Raises:
            ConnectionError: a server gives no usable answer.
        """

    @property
    def context_tokens(self) -> int | None:
        """How long a conversation may be; None where nobody says."""
        return None

    def count_tokens(self, messages: Sequence[Message]) -> int | None:
        """How long a conversation is; None where only a call would tell."""
        return None

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What an evaluation card has to name: model, weights, how it decodes."""

    def shortfalls(self) -> dict[str, int]:
        """How often something went otherwise than it should, so far, for the end of a run: words after the number."""
        return {}

    def ask(
        self,
        messages: Sequence[Message],
        form: type[FormType],
        *,
        check: Callable[[FormType], None] = lambda form: None,
        correction: str = "That cannot be used: {error}. Answer again, in exactly the form that was asked for.",
        max_retries: int = 2,
        meter: CallMeter | None = None,
    ) -> Asked[FormType]:
        """Has a form filled in; an answer that cannot be used is shown to the model again with what is wrong with it.

        Args:
            messages: the conversation; the last is the user's and says what the form is.
            form: that the answer's JSON has to fill in.
            check: raises ValueError, in words for the model, where the form's content cannot be used.
            correction: what the model is told then; ``{error}`` is filled in.
            max_retries: how often.
            meter: is asked before each call and told after it.
        """
        conversation, text, error = list(messages), "", ""
        for call in range(max_retries + 1):
            if meter is not None and (objection := meter.objection(conversation)):
                return Asked(None, text, call, objection)
            started = time.perf_counter()
            written = self.write(conversation)
            text = written.text
            if meter is not None:
                meter.after(written, time.perf_counter() - started)
            try:
                answer = filled_form(text, form)
                check(answer)
                return Asked(answer, text, call + 1)
            except ValueError as wrong:
                error = str(wrong)
            told = Message("user", correction.replace("{error}", error))
            conversation = [*messages, Message("assistant", text), told]
        return Asked(None, text, max_retries + 1, error)
