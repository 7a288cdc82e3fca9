"""The prompts of the roles, each a text file in one folder, with blanks in braces that are filled in."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from modules.files.paths import InputPath
from modules.mllms.prompt import read_template

BLANKS: dict[str, tuple[str, ...]] = {
    "describe": (),
    "describe_again": (),
    "relevant": ("memory", "question"),
    "locate": ("memory", "question"),
    "instruct": ("period", "question"),
    "answer": ("memory", "question"),
    "forced": ("memory", "question"),
    "correction": ("error",),
}
"""File name without ``.txt`` -> blanks that it cannot do without. ``describe`` knows no question, so that its captions
serve all of them; ``describe_again`` without ``{instruction}`` does neither, and then those captions serve all as well.
"""


class RolePrompts:
    """The prompts of a folder.

    Args:
        folder: with a file for each of `BLANKS`.

    Raises:
        ValueError: a file is missing, or lacks a blank.
    """

    def __init__(self, folder: InputPath) -> None:
        self._texts = {name: read_template(str(Path(folder) / f"{name}.txt")) for name in BLANKS}
        for name, blanks in BLANKS.items():
            if missing := [blank for blank in blanks if f"{{{blank}}}" not in self._texts[name]]:
                raise ValueError(f"prompt {folder}/{name}.txt has no {{{missing[0]}}}")

    def text(self, name: str, **values: str) -> str:
        """A prompt with its blanks filled in, in one pass, so that a caption may contain braces."""
        return re.sub(r"\{(\w+)\}", lambda blank: values.get(blank[1], blank[0]), self._texts[name])

    def digest(self) -> str:
        """Short hash of all texts."""
        return hashlib.sha256(repr(sorted(self._texts.items())).encode()).hexdigest()[:10]
