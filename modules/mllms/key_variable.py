"""The environment variable that holds a server's key."""

from __future__ import annotations

import re

from jsonargparse.typing import register_type

_NAME = re.compile(r"[A-Z][A-Z0-9_]*_API_KEY")


class KeyVariable(str):
    """A variable's name that ends in ``_API_KEY``.

    A recipe names the server as well, so whatever the variable holds may go to any server.

    Raises:
        ValueError: another name.
    """

    def __new__(cls, value: str) -> KeyVariable:
        if not _NAME.fullmatch(value):
            raise ValueError(
                f"{value!r:.100} is no variable that may be sent to a server: its name has to end in _API_KEY, so that "
                "no recipe can send away another secret"
            )
        return super().__new__(cls, value)


register_type(KeyVariable, serializer=str, deserializer=KeyVariable)
