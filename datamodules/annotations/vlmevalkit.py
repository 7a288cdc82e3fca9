"""The TSVs of VLMEvalKit's kind, which exist for all the benchmarks: index, task_name, video_name, question,
answer_number (0-based), candidates (a Python list), answer.

The number is trusted, not the text: quoted answers have lost their inner quotes, and MLVU's ``index`` and
``question_id`` match no other file.
"""

from __future__ import annotations

from typing import Any

from datamodules.annotations.choices import find_answer, split_question, without_letters
from datamodules.annotations.tables import read_list


def is_vlmevalkit(row: dict[str, Any]) -> bool:
    """Whether a row has that form."""
    return {"index", "video_name", "candidates", "answer_number"} <= row.keys()


def question_of(row: dict[str, Any], repairs: Any) -> tuple[str, list[str], int | None]:
    """Question without its options, options without letters, index of the right one."""
    options = without_letters(read_list(row["candidates"]))
    number = str(row["answer_number"]).strip()
    index = int(float(number)) if number not in ("", "None", "nan") else None
    if index is None or not 0 <= index < len(options):
        index = find_answer(row["answer"], options, repairs)
    question, inside = split_question(str(row["question"]))
    return (question if inside else str(row["question"]).strip()), options, index
