"""Rows of a file, whatever its format, with text left as text and every row known by its number.

Ids such as "001" must not become numbers, and quoted cells of tables contain tabs, quotes and line ends. A line of
JSON lines ends at a line feed alone: other characters that end lines may stand inside of a text.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet

from modules.files.rows import FileError, Repeated, Row, Unreadable

SUFFIXES = (".parquet", ".json", ".jsonl", ".tsv", ".csv")
_MAX_ROWS = 20_000_000
"""Of a Parquet file, which may say so in a few bytes."""


def rows_of(path: Path, what: str = "annotations") -> list[Row]:
    """All rows of a file.

    A line of JSON lines that is none, and a row of a table with too many cells or too few, are there as `Unreadable`.

    Args:
        path: with one of `SUFFIXES`.
        what: the file is, for messages.

    Raises:
        FileError: it is missing, of another format, or broken as a whole; names the file and the place.
    """
    if not path.is_file():
        raise FileError(f"{what} {path}: no such file")
    readers = {".parquet": _parquet, ".json": _json_list, ".jsonl": _json_lines, ".tsv": _table, ".csv": _table}
    if path.suffix not in readers:
        raise FileError(f"{what} {path}: one of {', '.join(SUFFIXES)} was expected")
    try:
        contents = list(readers[path.suffix](path))
    except _BROKEN as error:
        raise FileError(f"{what} {path} cannot be read: {_reason(error)}") from error
    if not contents:
        raise FileError(f"{what} {path} cannot be read: it holds no row")
    return [Row(path, f"row {place}", number, content) for number, (place, content) in enumerate(contents)]


def read_json(path: Path, what: str) -> Any:
    """A JSON file's value; keys that stand twice have `Repeated` for a value.

    Raises:
        FileError: there is no such file, or it is no JSON.
    """
    if not path.is_file():
        raise FileError(f"{what} {path}: no such file")
    try:
        return json_value(path.read_text(encoding="utf-8-sig"))
    except _BROKEN as error:
        raise FileError(f"{what} {path} cannot be read: {_reason(error)}") from error


def json_value(text: str) -> Any:
    """A JSON text's value; keys that stand twice in an object have `Repeated` for a value.

    Raises:
        ValueError: it is no JSON, or a number of thousands of digits.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_object)


_BROKEN = (ValueError, RecursionError, OverflowError, OSError, pyarrow.ArrowException)


def _reason(error: BaseException) -> str:
    if isinstance(error, UnicodeDecodeError):
        return (
            f"byte {error.start} is 0x{error.object[error.start]:02x}, which is no text in UTF-8; save the table anew "
            "in that encoding (Excel calls it CSV UTF-8)"
        )
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, count in Counter(key for key, _ in pairs).items():
            if count > 1:
                found[key] = Repeated(tuple(value for name, value in pairs if name == key))
    return found


def _json_list(path: Path) -> Iterator[tuple[int, Any]]:
    content = json_value(path.read_text(encoding="utf-8-sig"))
    if not isinstance(content, list):
        raise ValueError("a list of rows was expected")
    return enumerate(content, 1)


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            yield number, _json_line(line)


def _json_line(line: bytes) -> Any:
    try:
        return json_value(line.decode())
    except (ValueError, RecursionError) as error:
        return Unreadable(f"no JSON: {_reason(error)}")


def _table(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, delimiter=_delimiter(path.suffix, file.readline()), strict=True)
        file.seek(0)
        try:
            header = next(rows, [])
            _distinct(header)
            for number, cells in enumerate((cells for cells in rows if cells), 1):
                if len(cells) == len(header):
                    yield number, dict(zip(header, cells, strict=True))
                else:
                    yield number, Unreadable(f"{len(cells)} cells for {len(header)} columns")
        except csv.Error as error:
            raise ValueError(f"line {rows.line_num}: {error}") from error


def _delimiter(suffix: str, first_line: str) -> str:
    """What stands between cells: spreadsheets write semicolons where the decimal sign is a comma, as in German."""
    if suffix == ".tsv":
        return "\t"
    return ";" if ";" in first_line and "," not in first_line else ","


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    with pyarrow.parquet.ParquetFile(path) as file:
        if file.metadata.num_rows > _MAX_ROWS:
            raise ValueError(f"{file.metadata.num_rows} rows are more than {_MAX_ROWS}")
        _distinct(file.schema_arrow.names)
        return enumerate(file.read().to_pylist(), 1)


def _distinct(columns: list[str]) -> None:
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise ValueError(f"column {twice[0]!r} occurs more than once")
