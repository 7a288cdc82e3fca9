"""Pass rates of questions: how often an MLLM solves each on evenly spaced frames, as JSON lines beside the data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from modules.files.row_files import rows_of
from modules.files.rows import Fields, Label, RowError, Share, read
from modules.records import VideoQuestion


class _Rated(Fields):
    id: Label
    pass_rate: Share


def read_pass_rates(path: str) -> dict[str, float]:
    """Pass rate by sample_id.

    Raises:
        ValueError: there is no such file, a line of it is no ``{"id": ..., "pass_rate": ...}``, or a question has
            two rates.
    """
    if not Path(path).is_file():
        raise ValueError(f"pass_rates: there is no {path}; recipes/data/pass_rates.yaml makes one")
    rates: dict[str, float] = {}
    for row in rows_of(Path(path), "pass_rates"):
        rated = read(_Rated, row)
        if rates.setdefault(rated.id, rated.pass_rate) != rated.pass_rate:
            raise RowError(
                row, "pass_rate", rated.pass_rate, f"one rate a question; an earlier row has {rates[rated.id]:g}"
            )
    return rates


def with_pass_rates(questions: list[VideoQuestion], rates: dict[str, float]) -> list[VideoQuestion]:
    """The questions with their rates; those that have none stay as they are."""
    return [dataclasses.replace(q, pass_rate=rates[q.sample_id]) if q.sample_id in rates else q for q in questions]
