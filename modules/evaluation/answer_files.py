"""Raw answers on disk, with what they cost: JSON lines, one a question and system.

While an evaluation runs each rank appends to a file of its own, so that hours of answers outlive whatever ends it; at
the end they become one file.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from modules.files.strict_json import strict_json
from modules.files.whole_files import appearing
from modules.records import Answer, Cost, TraceStep

FILE_NAME = "answers.jsonl"
_UNFINISHED = "answers-unfinished-{}.jsonl"
_log = logging.getLogger(__name__)


def unfinished_file(run_dir: Path, rank: int) -> Path:
    """Where a rank's answers lie before all are there."""
    return run_dir / _UNFINISHED.format(rank)


@dataclasses.dataclass(frozen=True)
class Answered:
    """An answer and what it cost, as they lie on disk."""

    answer: Answer
    cost: Cost | None = None
    """None in files of versions that did not measure it."""
    trace: tuple[TraceStep, ...] = ()
    """What a system did, step by step, where it reasons in steps."""


def write_answers(path: Path, answers: Iterable[Answered]) -> None:
    """Writes answers, whole or not at all; infinite log-probabilities as null."""
    with appearing(path, "answers") as place:
        append_answers(place, answers)


def append_answers(path: Path, answers: Iterable[Answered]) -> None:
    """Adds answers to a file; they are on disk then."""
    # half a surrogate pair, which no encoding has, becomes the escape that JSON has for it
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        for answered in answers:
            record = dataclasses.asdict(answered.answer)
            if answered.cost is not None:
                record["cost"] = dataclasses.asdict(answered.cost)
            if answered.trace:
                record["trace"] = [dataclasses.asdict(step) for step in answered.trace]
            file.write(strict_json(record, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_answers(path: str | Path) -> list[Answer]:
    """The answers of `read_answered`."""
    return [answered.answer for answered in read_answered(path)]


def read_answered(path: str | Path) -> list[Answered]:
    """Reads them back; a folder means the file of that run, or what there is of it where the run has not ended.

    Raises:
        ValueError: no such file, or a line that is no answer.
    """
    path = Path(path)
    if path.is_dir() and not (path / FILE_NAME).is_file():
        parts = sorted(path.glob(_UNFINISHED.format("*")))
        if parts:
            answers = [answer for part in parts for answer in _read(part, unfinished=True)]
            _log.warning("%s has not ended: these are the %d answers it has so far", path, len(answers))
            return answers
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{path}: no such file; an evaluation writes {FILE_NAME} into its run folder")
    return _read(path)


def _read(path: Path, unfinished: bool = False) -> list[Answered]:
    lines = path.read_bytes().split(b"\n")
    if unfinished:  # the last line has no end yet, or is empty
        lines = lines[:-1]
    answers = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                answers.append(_answer(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} line {number} is no answer: {error}") from error
    return answers


def _answer(record: dict[str, Any]) -> Answered:
    cost, trace = record.pop("cost", None), record.pop("trace", ())
    if "arm" in record:  # what a system was called before
        record["system"] = record.pop("arm")
    scores = record["option_log_probs"]
    values = {
        **record,
        "options": tuple(record["options"]),
        "references": tuple(record.get("references", ())),
        "option_log_probs": None if scores is None else tuple(float("-inf") if s is None else s for s in scores),
        "timestamps_s": tuple(record["timestamps_s"]),
        "evidence_s": tuple((a, b) for a, b in record["evidence_s"]),
        "groups": {k: tuple(v) if isinstance(v, list) else v for k, v in record["groups"].items()},
    }
    return Answered(Answer(**values), None if cost is None else Cost(**cost), tuple(map(_step, trace)))


def _step(record: dict[str, Any]) -> TraceStep:
    spans_s = tuple((start, end) for start, end in record["spans_s"])
    return TraceStep(**{**record, "spans_s": spans_s, "cost": Cost(**record["cost"])})
