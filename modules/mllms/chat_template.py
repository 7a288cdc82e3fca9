"""A model's own chat template, rendered: it is a program of whoever made the model, in jinja's sandbox.

It reaches nothing but the messages. What it may still do is take for ever, so it gets a time in which to end; that ends
loops, and not a single huge operation on numbers or texts, which Python does not interrupt.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import transformers
from jinja2.exceptions import TemplateError

_MOST_S = 20.0
"""Of one prompt; an ordinary one takes a millisecond."""
_MOST_CHARACTERS = 10_000_000


def render(
    processor: transformers.ProcessorMixin | transformers.PreTrainedTokenizerBase, messages: list[dict[str, Any]]
) -> str:
    """The text of a conversation, up to where the answer begins.

    Raises:
        ValueError: the template fails, takes too long, or writes too much.
    """
    try:
        with _at_most(_MOST_S):
            text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except (TemplateError, MemoryError, RecursionError, OverflowError, TimeoutError, TypeError) as error:
        raise ValueError(f"the model's chat template cannot be used: {type(error).__name__}: {error}") from error
    if not isinstance(text, str) or len(text) > _MOST_CHARACTERS:
        raise ValueError(f"the model's chat template wrote more than {_MOST_CHARACTERS} characters")
    return text


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raises TimeoutError inside after that time; in the main thread, the only one that signals reach."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"it takes more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
