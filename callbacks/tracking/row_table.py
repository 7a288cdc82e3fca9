"""Rows of a file of JSON lines as one table; a row need not have every column."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modules.files.strict_json import strict_json


def columns_and_rows(path: Path) -> tuple[list[str], list[list[Any]]]:
    """The columns in the order in which they first appear, and each row's values in that order; None where it has none.

    Raises:
        FileNotFoundError: there is no such file.
    """
    rows = [row for line in path.read_text().splitlines() if (row := _row(line)) is not None]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return columns, [[row.get(name) for name in columns] for row in rows]


def split_table(path: Path) -> str:
    """The table in the layout that MLflow and pandas call *split*: ``{"columns": [...], "data": [[...], ...]}``."""
    columns, rows = columns_and_rows(path)
    return strict_json({"columns": columns, "data": rows})


def _row(line: str) -> dict[str, Any] | None:
    """A row; None for half a line, at which a run was killed."""
    try:
        return json.loads(line)
    except ValueError:
        return None
