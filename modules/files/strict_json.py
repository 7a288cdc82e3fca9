"""JSON that every reader takes: the standard knows neither NaN nor Infinity, so such a number is written as null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def strict_json(content: Any, **layout: Any) -> str:
    """A text of strict JSON.

    Args:
        content: plain data; numbers that are not finite become null.
        layout: see ``json.dumps``.
    """
    return json.dumps(_finite(content), allow_nan=False, **layout)


def _finite(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node
