"""The TSVs of VLMEvalKit's kind, which exist for all the benchmarks: index, task_name, video_name, question,
answer_number (0-based), candidates (a Python list), answer.

The number is trusted, not the text: quoted answers have lost their inner quotes, and MLVU's ``index`` and
``question_id`` match no other file. Without a number the answer is a letter or an option's text.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from datamodules.annotations.choices import Choices, Options, find_answer, find_place, question_and_choices
from modules.files.rows import Fields, Label, Once, Row, Text, read


class TableRow(Fields):
    index: Label
    task_name: Label
    video_name: Text
    question: Text
    candidates: Options
    answer_number: Once
    answer: Once = None


def is_vlmevalkit(content: Any) -> bool:
    """Whether a row has that form."""
    return isinstance(content, dict) and {"index", "video_name", "candidates", "answer_number"} <= content.keys()


def question_of(row: Row, repairs: Counter[str]) -> tuple[TableRow, str, Choices, int | None]:
    """A row's fields, its question without options, the options, and the index of the right one.

    Raises:
        RowError: the row is not as it should be.
    """
    fields = read(TableRow, row)
    with row.reading("candidates", fields.candidates):
        question, choices = question_and_choices(fields.question, fields.candidates)
    number = None if str(fields.answer_number).strip() in ("", "None", "nan") else fields.answer_number
    if number is not None:
        with row.reading("answer_number", number):
            return fields, question, choices, find_place(number, choices)
    with row.reading("answer", fields.answer):
        return fields, question, choices, find_answer(fields.answer, choices, "either", repairs)
