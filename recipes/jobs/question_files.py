"""Questions on disk in the form of TSPO-10K, which `datamodules.annotations.training.TSPO10K` reads back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datamodules.annotations.annotation_files import name_below
from modules.files.strict_json import strict_json
from modules.parsing import LETTERS
from modules.records import VideoQuestion


def tspo_record(question: VideoQuestion, kind: str, root: Path, **more: Any) -> dict[str, Any]:
    """One line: ``general`` questions ask about a whole video, ``specific`` ones are needles."""
    assert question.answer_index is not None
    lines = [f"{LETTERS[o]}. {option}" for o, option in enumerate(question.options)]
    letter = LETTERS[question.answer_index]
    return {
        "id": question.sample_id,
        "video": name_below(root, question.video),
        "original_question": "\n".join(["<image>", question.question, *lines]),
        "original_answer": f"{letter}. {question.answer}",
        "problem": f"<image>\n{question.question}",
        "solution": f"<answer>{letter}</answer>",
        "type": kind,
        **more,
    }


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(strict_json(r, ensure_ascii=False) + "\n" for r in records))


def append_line(path: Path, record: dict[str, Any]) -> None:
    """One more JSON line, on disk when this returns."""
    with path.open("a") as file:
        file.write(strict_json(record, ensure_ascii=False) + "\n")


def resume_lines(path: Path) -> list[dict[str, Any]]:
    """What an earlier run wrote to a file that is now appended to; a half-written last line is taken out of it."""
    found = []
    for line in path.read_text().rstrip("\n").split("\n") if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    write_lines(path, found)
    return found
