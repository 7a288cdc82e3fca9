"""Rows of an annotation file, whatever its format, with text left as text.

Ids such as "001" or "0094" must not become numbers, quoted fields of TSVs contain tabs and quotes, and a cell may hold
a Python list.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet

SUFFIXES = (".parquet", ".json", ".jsonl", ".tsv", ".csv")


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """All rows of a file.

    Raises:
        ValueError: it is missing, of another format, or broken; names the file and the place.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"annotations {path}: no such file")
    try:
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path).to_pylist()
        if path.suffix in (".tsv", ".csv"):
            with path.open(newline="", encoding="utf-8-sig") as file:
                return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        if path.suffix == ".json":
            content = json.loads(text)
            if isinstance(content, list):
                return content
            raise ValueError("a list of rows was expected")
    except (ValueError, OSError, csv.Error, pyarrow.ArrowException) as error:
        raise ValueError(f"annotations {path} cannot be read: {error}") from error
    raise ValueError(f"annotations {path}: one of {', '.join(SUFFIXES)} was expected")


def read_list(cell: Any) -> list[str]:
    """A list, or the Python literal of one, as strings.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(cell, str):
        try:
            cell = ast.literal_eval(cell)
        except (ValueError, SyntaxError) as error:
            raise ValueError(f"{cell[:80]!r} is not a list") from error
    if not isinstance(cell, (list, tuple)):
        raise ValueError(f"{cell!r} is not a list")
    return [str(item) for item in cell]


def sha256(path: str | Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
