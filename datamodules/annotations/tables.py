"""Rows of a benchmark's own file as they are, and the check sum of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from modules.files.row_files import rows_of
from modules.files.rows import Fields, read


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """All rows of a file.

    Raises:
        ValueError: it is missing, of another format, or broken; names the file and the place.
    """
    rows = rows_of(Path(path))
    for row in rows:
        read(Fields, row)
    return [row.content for row in rows]


def sha256(path: str | Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
