"""``${dotted.key}`` in a recipe: what is allowed there, that it leads somewhere, and that it does not grow.

Nothing but keys of the recipe itself: no functions, and so no environment variables, which would end up in the recorded
recipe and on a tracking server. What is found here is found before OmegaConf replaces a single one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.\w+)*)\}")
_MOST_TEXTS, _LONGEST_CHAIN = 300, 16
_LONGEST = 4096
"""Characters of a text with references in it."""
_MOST = 200_000
"""Values and characters that one reference may bring."""


def malformed(content: Any) -> list[str]:
    """Texts with a ``${`` that is no plain reference, as ``key: what is wrong``."""
    texts, found = list(_texts("", content)), []
    if len(texts) > _MOST_TEXTS:
        return [f"{texts[_MOST_TEXTS][0]}: more than {_MOST_TEXTS} values with references; a recipe has a few dozen"]
    for key, text in texts:
        rest = _REFERENCE.sub("", text)
        if "${" in rest:
            start = rest.index("${")
            found.append(
                f"{key}: {rest[start : start + 60]!r} is no reference to a key of the recipe, such as ${{vars.x}}; "
                "functions and environment variables are not read"
            )
        elif "${" in text and len(text) > _LONGEST:
            found.append(f"{key}: {len(text)} characters with references in them; {_LONGEST} at most")
    return found


def unresolvable(content: dict[str, Any]) -> list[str]:
    """References that lead nowhere, in a ring, or to too much, as ``key: what is wrong``.

    Args:
        content: without `malformed` texts.
    """
    lookup, found = _Lookup(content), []
    for key, text in _texts("", content):
        try:
            lookup.extent(text, (key,))
        except ValueError as error:
            found.append(f"{key}: {error}")
    return found


def _texts(key: str, node: Any) -> Iterator[tuple[str, str]]:
    """Every text that has a ``${``, with its dotted key."""
    if isinstance(node, str) and "${" in node:
        yield key, node
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield from _texts(f"{key}.{name}" if key else str(name), child)


class _Lookup:
    """Follows references through a recipe, each once."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content, self._known = content, dict[str, int]()

    def extent(self, node: Any, within: tuple[str, ...]) -> int:
        """How many values and characters a node has once its references are replaced.

        Args:
            within: keys that are being looked at, to which none of them may lead back.

        Raises:
            ValueError: it cannot be replaced.
        """
        if isinstance(node, str):
            names = _REFERENCE.findall(node)
            total = len(node) + sum(self._extent_of(name, within) for name in names)
        elif isinstance(node, dict | list):
            children = node.values() if isinstance(node, dict) else node
            total = 1 + sum(self.extent(child, within) for child in children)
        else:
            return 1
        if total > _MOST:
            raise ValueError(f"its references bring more than {_MOST} values and characters")
        return total

    def _extent_of(self, name: str, within: tuple[str, ...]) -> int:
        if any(name == key or key.startswith(f"{name}.") for key in within):
            raise ValueError(f"${{{name}}} leads back to itself ({' -> '.join([*within, name][-6:])})")
        if len(within) > _LONGEST_CHAIN:
            raise ValueError(f"a chain of more than {_LONGEST_CHAIN} references")
        if name not in self._known:
            self._known[name] = self.extent(self._at(name, within), (*within, name))
        return self._known[name]

    def _at(self, name: str, within: tuple[str, ...]) -> Any:
        node: Any = self.content
        for part in name.split("."):
            node = self._followed(node, within)
            index = int(part) if isinstance(node, list) and part.isdecimal() else part
            present = index in node if isinstance(node, dict) else isinstance(index, int) and index < len(node)
            if not present:
                raise ValueError(f"${{{name}}} leads nowhere: there is no {part!r}")
            node = node[index]
        return node

    def _followed(self, node: Any, within: tuple[str, ...]) -> Any:
        """What a text that is one reference stands for."""
        while isinstance(node, str) and (match := _REFERENCE.fullmatch(node)):
            if match[1] in within or len(within) > _LONGEST_CHAIN:
                raise ValueError(f"${{{match[1]}}} leads back to itself, or through too many others")
            within = (*within, match[1])
            node = self._at(match[1], within)
        return node
