"""Pass rates of questions: how often an MLLM solves each on evenly spaced frames, as JSON lines beside the data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from modules.records import VideoQuestion


def read_pass_rates(path: str) -> dict[str, float]:
    """Pass rate by sample_id.

    Raises:
        ValueError: there is no such file, or a line of it is no ``{"id": ..., "pass_rate": ...}``.
    """
    if not Path(path).is_file():
        raise ValueError(f"pass_rates: there is no {path}; recipes/data/pass_rates.yaml makes one")
    rates = {}
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        try:
            row = json.loads(line)
            rates[str(row["id"])] = float(row["pass_rate"])
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: expected an id and a pass_rate, got {line[:80]!r}") from error
    return rates


def with_pass_rates(questions: list[VideoQuestion], rates: dict[str, float]) -> list[VideoQuestion]:
    """The questions with their rates; those that have none stay as they are."""
    return [dataclasses.replace(q, pass_rate=rates[q.sample_id]) if q.sample_id in rates else q for q in questions]
