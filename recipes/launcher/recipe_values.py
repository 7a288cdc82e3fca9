"""Every value of a recipe under the key that the command line has for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recipes.launcher.named_callbacks import by_name, callbacks_of


def values_by_key(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe; keys are dotted, without ``init_args``, and callbacks have their names.

    So one callback more does not move the others. A list is one value; what is empty has none.
    """
    callbacks = callbacks_of(recipe)
    if isinstance(callbacks, list):
        recipe = {**recipe, "trainer": {**recipe["trainer"], "callbacks": by_name(callbacks)}}
    return dict(_leaves("", recipe))


def _leaves(key: str, node: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(node, Mapping):
        yield key, node
        return
    for name, child in node.items():
        yield from _leaves(key if name == "init_args" else f"{key}.{name}".lstrip("."), child)
