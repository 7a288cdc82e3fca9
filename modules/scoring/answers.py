"""Raw answers on disk: JSON lines, one a question and arm."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from modules.records import Answer

FILE_NAME = "answers.jsonl"


def write_answers(path: Path, answers: Iterable[Answer]) -> None:
    """Writes answers; infinite log-probabilities as null."""
    with path.open("w") as file:
        for answer in answers:
            record = dataclasses.asdict(answer)
            scores = answer.option_log_probs
            record["option_log_probs"] = (
                None if scores is None else [None if abs(s) == float("inf") else s for s in scores]
            )
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read_answers(path: str | Path) -> list[Answer]:
    """Reads them back; a folder means the file of that run.

    Raises:
        ValueError: no such file, or a line that is no answer.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{path}: no such file; an evaluation writes {FILE_NAME} into its run folder")
    answers = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            answers.append(_answer(json.loads(line)))
        except (json.JSONDecodeError, TypeError, KeyError) as error:
            raise ValueError(f"{path} line {number} is no answer: {error}") from error
    return answers


def _answer(record: dict[str, Any]) -> Answer:
    scores = record["option_log_probs"]
    return Answer(**{
        **record,
        "options": tuple(record["options"]),
        "option_log_probs": None if scores is None else tuple(float("-inf") if s is None else s for s in scores),
        "timestamps_s": tuple(record["timestamps_s"]),
        "evidence_s": tuple((a, b) for a, b in record["evidence_s"]),
        "groups": {k: tuple(v) if isinstance(v, list) else v for k, v in record["groups"].items()},
    })  # fmt: skip
