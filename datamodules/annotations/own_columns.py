"""Columns of a person's own file: what they may be called, and what is said of one that is called something else."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from modules.files.rows import Fields, LabelIfAny, Once, Row, RowError, SecondsIfAny, Text, TextIfAny
from modules.parsing import LETTERS

_OPTION = re.compile(r"option[_ ]?([A-Ja-j]|[0-9]{1,2})")
_GROUP = re.compile(r"group_(.+)", re.DOTALL)
_LIKE, _SOMEWHAT_LIKE = 0.75, 0.5
"""How alike two names of columns are, of 1, for one to be taken for a slip of the other, or to be suggested for it."""


class OwnRow(Fields):
    """The columns of one row, but for ``option_a``, ``option_b``, ... and ``group_NAME``."""

    id: LabelIfAny = None
    video: Text
    question: Text
    options: Once = None
    answer: Once = None
    references: Once = None
    evidence: Once = None
    evidence_start: Once = None
    evidence_end: Once = None
    groups: Once = None
    subtitles: TextIfAny = None
    duration: SecondsIfAny = None
    split: LabelIfAny = None


class CaptionRow(Fields):
    """The columns of one row of captions, but for ``group_NAME``."""

    id: LabelIfAny = None
    video: Text
    caption: Once = None
    captions: Once = None
    start: Once = None
    end: Once = None
    groups: Once = None
    duration: SecondsIfAny = None
    split: LabelIfAny = None


class OwnColumns:
    """What a file calls its columns.

    Args:
        names: our name -> the file's, where that is another.
        row: our names.
        needed: those that have to be there; of several with a stroke between them, one.
        more: whether a column that is none of them is read all the same.

    Raises:
        ValueError: one of ours is none.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        row: type[Fields] = OwnRow,
        needed: tuple[str, ...] = ("video", "question"),
        more: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.names, self.ours, self.needed, self.more = dict(names), tuple(row.model_fields), needed, more
        if strangers := sorted(self.names.keys() - set(self.ours)):
            raise ValueError(f"columns: {strangers[0]!r} is none of {', '.join(self.ours)}")

    def unread(self, row: Row) -> list[str]:
        """Columns of a row that have no meaning here."""
        names = row.content if isinstance(row.content, dict) else {}
        return [n for n in names if n not in self.ours and not self.more(n) and not group_of(n)]

    def under_our_names(self, row: Row) -> Row:
        """A row whose columns are called as we call them."""
        if not self.names or not isinstance(row.content, dict):
            return row
        rest = {name: value for name, value in row.content.items() if name not in self.names.values()}
        named = {ours: row.content[theirs] for ours, theirs in self.names.items() if theirs in row.content}
        return replace(row, content=rest | named)

    def refuse_slips(self, row: Row) -> None:
        """Finds names that were probably meant to be others.

        Args:
            row: under our names.

        Raises:
            RowError: a column is missing, or an unknown one looks like one that is not there.
        """
        if not isinstance(row.content, dict):
            return
        unknown, absent = self.unread(row), [name for name in self.ours if name not in row.content]
        for name, *others in (names.split("|") for names in self.needed):
            if any(one not in absent for one in (name, *others)):
                absent = [one for one in absent if one not in others and one != name]
            else:
                close = difflib.get_close_matches(name, unknown, 1, _SOMEWHAT_LIKE)
                hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(row.content):.200}"
                theirs = self.names.get(name, name)
                raise RowError(row, "", None, f"there is no field {theirs!r}; {hint} (`columns: {{{name}: ...}}`)")
        for name in unknown:
            if close := difflib.get_close_matches(name.lower(), absent, 1, _LIKE):
                advice = f"did you mean {close[0]!r}? (or else `columns: {{{close[0]}: {name}}}`)"
                raise RowError(row, "", None, f"the field {name!r:.80} is not known; {advice}")


def is_numbered_option(column: str) -> bool:
    """Whether a column holds one option: ``option_a``, ``option_1``, ``option0``."""
    return _OPTION.fullmatch(column) is not None


def group_of(column: str) -> str | None:
    """The group whose labels a column ``group_NAME`` holds; None for other columns."""
    match = _GROUP.fullmatch(column)
    return match[1] if match else None


def option_columns(columns: Iterable[str]) -> list[str]:
    """The columns that hold an option each, in order: by letter from a on, or by number from 0 or 1 on.

    Raises:
        ValueError: one is missing between them, or letters and numbers are mixed.
    """
    found = {match[1].upper(): name for name in columns if (match := _OPTION.fullmatch(name))}
    letters = [mark for mark in found if mark.isalpha()]
    if letters:
        marks = sorted(found)
        whole = marks == list(LETTERS[: len(marks)])
    else:
        marks = sorted(found, key=int)
        whole = not marks or [int(mark) for mark in marks] in (
            list(range(len(marks))),
            list(range(1, len(marks) + 1)),
        )
    if not whole:
        raise ValueError(
            f"option_a, option_b, ... or option_1, option_2, ..., none left out; there are {', '.join(found.values())}"
        )
    return [found[mark] for mark in marks]
