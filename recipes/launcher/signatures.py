"""What a class takes, across the constructors that pass their ``**kwargs`` on."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any, get_type_hints


def parameters_of(cls: type) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Parameters of a constructor with those its ``**kwargs`` pass on to its bases, and their annotations."""
    parameters: dict[str, inspect.Parameter] = {}
    hints: dict[str, Any] = {}
    for base in cls.__mro__:
        function = base.__dict__.get("__init__")
        if function is None or base is object:
            continue
        own = inspect.signature(function).parameters.values()
        named = [p for p in own if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
        parameters = {p.name: p for p in named} | parameters
        with contextlib.suppress(NameError, TypeError):  # annotations only a type checker can read
            hints = get_type_hints(function) | hints
        if not any(p.kind is p.VAR_KEYWORD for p in own):
            break
    return parameters, hints
