"""Rows that somebody else wrote, held against a typed schema: what is wrong is named by file, row, field and value.

A schema is a class of `Fields` whose annotations are the types below. They take what has one meaning and refuse the
rest: a number may be written as plain digits, but True is no number and 1.7 no place in a list.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError

MAX_SECONDS = 1e7
"""Four months: no video is longer."""
_NUMERAL = re.compile(r"[+-]?[0-9]{1,20}(?:\.[0-9]{0,20})?")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_SHORT = reprlib.Repr()
_SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 80, 80, 40


class FileError(ValueError):
    """A file of rows that cannot be read; names it and says why."""


@dataclass(frozen=True)
class Repeated:
    """What stands in the place of a value whose key a JSON object has more than once."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Unreadable:
    """What stands in the place of a row that is not written as its format wants."""

    reason: str


@dataclass(frozen=True)
class Row:
    """One row as it was found."""

    file: Path
    place: str
    """Where in the file, e.g. ``"row 12"``; the first row is 1."""
    number: int
    """Among all rows that are read, from 0."""
    content: Any
    """What the row holds: fields by name, where it is as it should be."""
    whole: Row | None = None
    """The row that this one is inside of."""

    def part(self, name: str, number: int, content: Any) -> Row:
        """A row inside of this one, e.g. one of the questions about its video."""
        return Row(self.file, f"{self.place}, {name}", number, content, self)

    @contextmanager
    def reading(self, field: str, value: Any) -> Iterator[None]:
        """Names this row and field in what is refused inside, where it is not named yet."""
        try:
            yield
        except FileError:
            raise
        except ValueError as error:
            raise RowError(self, field, value, str(error)) from error


class RowError(FileError):
    """A row that is refused.

    Args:
        row: which.
        field: its field; empty where it is the row as a whole.
        value: what stands there.
        allowed: what may.
    """

    def __init__(self, row: Row, field: str, value: Any, allowed: str) -> None:
        self.place, self.field, self.allowed = f"{row.file}, {row.place}", field, allowed
        self.value = shortened(value)
        self.hint = ""
        """What can be done about it, where whoever raises it knows."""
        super().__init__(row, field, value, allowed)

    def __str__(self) -> str:
        if not self.field:
            return f"{self.place}: {self.allowed}{self.hint}"
        return f"{self.place}: {self.field} is {self.value}; allowed: {self.allowed}{self.hint}"

    @property
    def kind(self) -> str:
        """What rows refused for the same reason have in common."""
        return f"{self.field}: not {self.allowed}" if self.field else self.allowed


def shortened(value: Any) -> str:
    """A value as it can be shown in a message: on one line, at most about 80 characters, however deep or long."""
    if isinstance(value, Repeated):
        return "given more than once: " + " and ".join(shortened(v) for v in value.values[:3])
    return _SHORT.repr(value)


class Fields(BaseModel):
    """The fields of a row that are read; others may be there."""

    model_config = ConfigDict(extra="ignore", frozen=True, arbitrary_types_allowed=True)


Schema = TypeVar("Schema", bound=Fields)


def read(schema: type[Schema], row: Row) -> Schema:
    """A row's fields.

    Raises:
        RowError: a field is missing or holds what its type does not take; names the first.
    """
    if isinstance(row.content, Unreadable):
        raise RowError(row, "", None, row.content.reason)
    if not isinstance(row.content, dict):
        raise RowError(row, "", None, f"an object with fields was expected, not {shortened(row.content)}")
    try:
        return schema.model_validate(row.content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        raise RowError(row, "", None, f"there is no field {field!r}")
    raise RowError(row, field, first["input"], str(first.get("ctx", {}).get("error", first["msg"])))


# ---- types of fields ----


def as_text(value: Any) -> str:
    if isinstance(value, str) and value.strip() and not _NO_TEXT.search(value):
        return value
    raise ValueError("a text, not empty, without NUL and halves of characters")


def as_said(value: Any) -> str:
    if isinstance(value, str) and not _NO_TEXT.search(value):
        return value
    raise ValueError("a text without NUL and halves of characters")


def as_number(value: Any) -> float:
    if isinstance(value, str) and _NUMERAL.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and -1e15 < value < 1e15:
        return float(value)
    raise ValueError("a finite number")


def as_label(value: Any) -> str:
    if isinstance(value, str):
        return as_text(value)
    return f"{as_number(value):.15g}"


def _between(low: float, high: float, unit: str) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        try:
            number = as_number(value)
        except ValueError:
            number = math.nan
        if low <= number <= high:
            return number
        raise ValueError(f"{unit} from {low:g} to {high:.10g}")

    return check


def as_whole(value: Any) -> int:
    try:
        number = as_number(value)
    except ValueError:
        number = -1.0
    if number < 0 or not number.is_integer():
        raise ValueError("a whole number, 0 or more")
    return int(number)


def _given(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same type, or nothing: null and a blank text."""
    return lambda value: None if value is None or (isinstance(value, str) and not value.strip()) else check(value)


def as_once(value: Any) -> Any:
    if isinstance(value, Repeated):
        raise ValueError("one value")
    return value


Text = Annotated[str, PlainValidator(as_text)]
"""Not empty."""
Said = Annotated[str, PlainValidator(as_said)]
"""Possibly empty."""
Label = Annotated[str, PlainValidator(as_label)]
"""A text, or a number that names something."""
Number = Annotated[float, PlainValidator(as_number)]
Whole = Annotated[int, PlainValidator(as_whole)]
Seconds = Annotated[float, PlainValidator(_between(0, MAX_SECONDS, "seconds"))]
Share = Annotated[float, PlainValidator(_between(0, 1, "a share"))]
Once = Annotated[Any, PlainValidator(as_once)]
"""Anything, but not twice: to be looked at by whoever knows the other fields."""
TextIfAny = Annotated[str | None, PlainValidator(_given(as_text))]
LabelIfAny = Annotated[str | None, PlainValidator(_given(as_label))]
NumberIfAny = Annotated[float | None, PlainValidator(_given(as_number))]
SecondsIfAny = Annotated[float | None, PlainValidator(_given(_between(0, MAX_SECONDS, "seconds")))]
ShareIfAny = Annotated[float | None, PlainValidator(_given(_between(0, 1, "a share")))]
