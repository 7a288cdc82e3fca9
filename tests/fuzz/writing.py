"""Files of rows that may be wrong in any way: keys that stand twice, halves of characters, mixed types, other bytes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet


class Twice(dict):
    """An object in which one key stands twice, the second time with ``other``."""

    def __init__(self, fields: dict[str, Any], key: str, other: Any) -> None:
        super().__init__(fields)
        self.key, self.other = key, other


class Raw(str):
    """A cell, or a row, that is written as it is."""


def to_json(value: Any) -> str:
    """JSON with everything that Python can be made to read: NaN, halves of characters, keys twice."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        pairs = list(value.items()) + ([(value.key, value.other)] if isinstance(value, Twice) else [])
        return "{" + ", ".join(f"{json.dumps(str(k))}: {to_json(v)}" for k, v in pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(to_json, value)) + "]"
    return json.dumps(value)


def _table(rows: list[Any], delimiter: str) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    columns = list(dict.fromkeys(k for row in rows if isinstance(row, dict) for k in row))
    writer.writerow(columns)
    for row in rows:
        if isinstance(row, dict):
            writer.writerow(["" if row.get(c) is None else row.get(c) for c in columns])
        else:
            writer.writerow(row if isinstance(row, list) else [row])
    return out.getvalue().encode("utf-8", "surrogatepass")


def content_of(name: str, rows: Any, mutated: int | None = None) -> bytes:
    """A file's bytes.

    Args:
        name: its suffix is the format.
        rows: list of rows; for files beside, any value, or text.
        mutated: the row that has to be there where a Parquet column cannot hold all of them.

    Raises:
        ValueError, TypeError, OverflowError, pyarrow.ArrowException: the format cannot say this.
    """
    suffix = Path(name).suffix
    if isinstance(rows, str) and suffix == ".srt":
        return rows.encode("utf-8", "surrogatepass")
    if suffix == ".jsonl" and isinstance(rows, list):
        return "".join(to_json(row) + "\n" for row in rows).encode()
    if suffix in (".tsv", ".csv"):
        return _table(rows, "\t" if suffix == ".tsv" else ",")
    if suffix == ".parquet":
        out = io.BytesIO()
        columns = list(dict.fromkeys(k for row in rows for k in row))
        rows = [{c: row.get(c) for c in columns} for row in rows]
        try:
            table = pyarrow.Table.from_pylist(rows)
        except (pyarrow.ArrowException, TypeError):
            if mutated is None:
                raise
            table = pyarrow.Table.from_pylist([rows[mutated]])
        pyarrow.parquet.write_table(table, out)
        return out.getvalue()
    return to_json(rows).encode()
