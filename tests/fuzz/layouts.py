"""A small valid file of every layout of annotations, built from plain questions, so that what it says is known."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datamodules.annotations.long_video_qa import LongVideoQA
from datamodules.annotations.longvideobench import LongVideoBench
from datamodules.annotations.lvbench import LVBench
from datamodules.annotations.mlvu import MLVU
from datamodules.annotations.multiple_choice import MultipleChoice
from datamodules.annotations.nextgqa import NExTGQA
from datamodules.annotations.training import TSPO10K, LLaVAVideo
from datamodules.annotations.videomme import VideoMME

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
HOLES = (None, "", "N/A")
UNREAD = "view_count"
"""A field that no layout reads."""


@dataclass
class Asked:
    """A question as somebody might publish it; what is wrong with it is put in here."""

    number: int
    question: str
    options: list[Any]
    answer_index: int
    answer: Any = None
    """As the layout writes it."""
    letters: str = LETTERS
    """Printed before the options, where the layout prints any."""


ASKED = [
    Asked(0, "who opens the door", ["a man", "a dog", "a cat", "the wind"], 2),
    Asked(1, "which colour is the door", ["red", "light blue", "blue", "white"], 0),
    Asked(2, "how many are there", ["2", "3", "1", "none of these"], 1),
]


def lettered(asked: Asked, form: str) -> list[Any]:
    """Options with letters; holes have none."""
    return [
        o if o in HOLES or not isinstance(o, (str, int)) else form.format(asked.letters[n : n + 1], o)
        for n, o in enumerate(asked.options)
    ]


def lines(asked: Asked, form: str) -> str:
    """The question with its options, a line each."""
    options = [form.format(asked.letters[n : n + 1], "" if o is None else o) for n, o in enumerate(asked.options)]
    return "\n".join([asked.question, *options])


@dataclass(frozen=True)
class Layout:
    """One layout.

    ``build`` makes a row's fields; ``answer_as`` is how answers are written (index, letter, text, both), ``means`` how
    they are read; ``options_in`` where options stand (list, columns, literal, lines, list+lines), ``free`` which fields
    of a `VideoQuestion` come from which of a row's.
    """

    name: str
    file: str
    source: Callable[[Path], Any]
    build: Callable[[Asked], dict[str, Any]]
    answer_as: str
    means: str
    options_in: str
    answer_field: str
    fields: dict[str, str] = field(default_factory=dict)
    """A row's field -> the question's field that it becomes."""
    path_fields: tuple[str, ...] = ()
    beside: Callable[[], dict[str, Any]] = dict
    """Files beside the annotations: name -> content."""

    def answer(self, asked: Asked) -> Any:
        """The right answer as it is written here."""
        text, letter = asked.options[asked.answer_index], LETTERS[asked.answer_index]
        return {"index": asked.answer_index, "letter": letter, "text": text, "both": f"{letter}. {text}"}[
            self.answer_as
        ]


def _video(asked: Asked) -> str:
    return f"v{asked.number}.mp4"


def _lvb(a: Asked) -> dict[str, Any]:
    return {
        "id": f"q{a.number}", "video_id": f"v{a.number}", "video_path": _video(a), "question": a.question,
        "candidates": list(a.options), "correct_choice": a.answer, "duration": 60.5, "duration_group": 60,
        "question_category": "S2E", "level": "L1", "subtitle_path": f"v{a.number}.json", UNREAD: 3,
        "starting_timestamp_for_subtitles": 1.5,
    }  # fmt: skip


def _lvb_columns(a: Asked) -> dict[str, Any]:
    row = {k: v for k, v in _lvb(a).items() if k != "candidates"}
    return row | {f"option{n}": o for n, o in enumerate([*a.options, *["N/A"] * 5][: max(5, len(a.options))])}


def _tsv(a: Asked) -> dict[str, Any]:
    return {
        "index": f"q{a.number}", "task_name": "order", "video_name": _video(a), "question_id": 0,
        "question": a.question, "answer_number": a.answer, "candidates": repr(list(a.options)), UNREAD: 3,
        "answer": "x",
    }  # fmt: skip


def _mlvu_original(a: Asked) -> dict[str, Any]:
    return {"video": _video(a), "duration": 60.5, "question": a.question, "candidates": list(a.options),
            "answer": a.answer, "question_type": "order", UNREAD: 3}  # fmt: skip


def _mlvu_repacked(a: Asked) -> dict[str, Any]:
    return {"video_name": _video(a), "duration": 60, "question": lines(a, "({}) {}"), "candidates": list(a.options),
            "answer": a.answer, "task_type": "order", "question_id": f"q{a.number}", UNREAD: 3}  # fmt: skip


def _videomme(a: Asked) -> dict[str, Any]:
    return {"video_id": "001", "videoID": f"v{a.number}", "question_id": f"q{a.number}", "question": a.question,
            "options": lettered(a, "{}. {}"), "answer": a.answer, "duration": "short", "domain": "d",
            "sub_category": "s", "task_type": "t", UNREAD: 3}  # fmt: skip


def _lvbench(a: Asked) -> dict[str, Any]:
    return {
        "key": f"v{a.number}", "type": "cartoon", "video_info": {"duration_minutes": 2, UNREAD: 3},
        "qa": [{"uid": f"q{a.number}", "question": lines(a, "({}) {}"), "answer": a.answer, "question_type": ["er"],
                "time_reference": "00:15-00:20", UNREAD: 3}],
    }  # fmt: skip


def _lvbench_table(a: Asked) -> dict[str, Any]:
    return {"video_path": _video(a), "uid": f"q{a.number}", "question": a.question, "options": lettered(a, "({}) {}"),
            "answer": a.answer, UNREAD: 3}  # fmt: skip


def _nextgqa(a: Asked) -> dict[str, Any]:
    columns = {f"a{n}": o for n, o in enumerate([*a.options, *[""] * 5][: max(5, len(a.options))])}
    return {"video_id": f"v{a.number}", "qid": str(a.number), "question": a.question, "answer": a.answer, "type": "CW",
            UNREAD: 3, **columns}  # fmt: skip


def _tspo(a: Asked) -> dict[str, Any]:
    return {"id": f"q{a.number}", "video": _video(a), "original_question": f"<image>\n{lines(a, '{}. {}')}",
            "original_answer": a.answer, "problem": "x", "type": "general", UNREAD: 3}  # fmt: skip


def _llava(a: Asked) -> dict[str, Any]:
    turns = [{"from": "human", "value": f"<image>\n{lines(a, '{}. {}')}"}, {"from": "gpt", "value": a.answer}]
    return {"id": f"q{a.number}", "video": _video(a), "data_source": "s", "conversations": turns, UNREAD: 3}


def _long(a: Asked) -> dict[str, Any]:
    return {"id": f"q{a.number}", "video": _video(a), "duration": 60.5, "question": a.question,
            "options": list(a.options), "answer": a.answer, "type": "t", "pass_rate": 0.5,
            "evidence": [[10.0, 20.5], [30, 40]], UNREAD: 3}  # fmt: skip


def _own(a: Asked) -> dict[str, Any]:
    return {"id": f"q{a.number}", "video": _video(a), "question": a.question, "options": list(a.options),
            "answer": a.answer, "evidence": [[10.0, 20.5], [30, 40]], "groups": {"kind": "x", "tags": ["a", "b"]},
            "subtitles": f"v{a.number}.srt", "duration": 60.5, UNREAD: 3}  # fmt: skip


def _own_columns(a: Asked) -> dict[str, Any]:
    columns = {f"option{n}": o for n, o in enumerate([*a.options, *[""] * 5][: max(5, len(a.options))])}
    return {"id": f"q{a.number}", "video": _video(a), "question": a.question, "answer": a.answer, **columns,
            "evidence_start": 10, "evidence_end": 20.5, "group_kind": "x", "duration": 60, UNREAD: 3}  # fmt: skip


def _own_text(a: Asked) -> dict[str, Any]:
    return {"video": _video(a), "question": a.question, "options": repr(list(a.options)), "answer": a.answer,
            "evidence": "[10, 20.5]", UNREAD: 3}  # fmt: skip


def _subtitles() -> dict[str, Any]:
    said = [{"timestamp": [2.0, 3.5], "text": "hello"}, {"timestamp": [10.0, None], "text": "bye"}]
    clocks = [{"start": "0:00:02.000", "end": "0:00:03.500", "line": "hello"}]
    return {"subtitles/v0.json": said, "subtitles/v1.json": clocks, "subtitles/v2.json": deepcopy(said)}


def _srt() -> dict[str, Any]:
    return {f"subtitles/v{n}.srt": "1\n00:00:01,000 --> 00:00:02,000\nhello\n\n" for n in range(3)}


def _grounding() -> dict[str, Any]:
    spans = {f"v{n}": {"duration": 60, "fps": 30, "location": {str(n): [[10.5, 20], [30, 40]]}} for n in range(3)}
    return {"gsub_test.json": spans, "map_vid_vidorID.json": {f"v{n}": f"v{n}" for n in range(3)}}


def _source(kind: type, file: str, subtitles: str | None = None, **more: Any) -> Callable[[Path], Any]:
    def make(folder: Path) -> Any:
        told = more if subtitles is None else more | {"subtitles": str(folder / subtitles)}
        return kind(annotations=str(folder / file), videos=str(folder / "videos"), split="test", **told)

    return make


_LVB = {
    "id": "sample_id", "video_id": "video", "video_path": "video", "question": "question", "duration": "duration_s",
    "duration_group": "groups", "question_category": "groups", "level": "groups", "subtitle_path": "subtitles",
    "starting_timestamp_for_subtitles": "subtitles",
}  # fmt: skip
_TSV = {"index": "sample_id", "task_name": "groups", "video_name": "video", "question": "question", "answer": ""}
_MLVU = {"video": "video", "video_name": "video", "duration": "duration_s", "question": "question",
         "question_type": "groups", "task_type": "groups", "question_id": "sample_id"}  # fmt: skip
_MME = {"videoID": "video", "question_id": "sample_id", "question": "question", "duration": "groups",
        "domain": "groups", "sub_category": "groups", "task_type": "groups"}  # fmt: skip
_LVBENCH = {"key": "video", "video_path": "video", "type": "groups", "video_info": "duration_s", "uid": "sample_id",
            "question": "question", "question_type": "groups", "time_reference": "evidence_s"}  # fmt: skip
_OWN = {"id": "sample_id", "video": "video", "question": "question", "groups": "groups", "group_kind": "groups",
        "subtitles": "subtitles", "duration": "duration_s evidence_s", "evidence": "evidence_s",
        "evidence_start": "evidence_s", "evidence_end": "evidence_s"}  # fmt: skip
_SUBTITLED = {"subtitles": "subtitles"}

LAYOUTS = [
    Layout("LongVideoBench json", "lvb.json", _source(LongVideoBench, "lvb.json", **_SUBTITLED), _lvb, "index", "index",
           "list", "correct_choice", _LVB, ("video_path", "video_id", "subtitle_path"), _subtitles),
    Layout("LongVideoBench parquet", "lvb.parquet", _source(LongVideoBench, "lvb.parquet", **_SUBTITLED), _lvb_columns,
           "index", "index", "columns:option", "correct_choice", _LVB, ("video_path", "subtitle_path"), _subtitles),
    Layout("LongVideoBench tsv", "lvb.tsv", _source(LongVideoBench, "lvb.tsv"), _tsv, "index", "index", "literal",
           "answer_number", _TSV, ("video_name",)),
    Layout("MLVU folder", "json/2_order.json", _source(MLVU, "json"), _mlvu_original, "text", "text", "list", "answer",
           _MLVU, ("video",)),
    Layout("MLVU json", "mlvu.json", _source(MLVU, "mlvu.json"), _mlvu_repacked, "letter", "letter", "list+lines",
           "answer", _MLVU, ("video_name",)),
    Layout("MLVU parquet", "mlvu.parquet", _source(MLVU, "mlvu.parquet"), _mlvu_repacked, "letter", "letter",
           "list+lines", "answer", _MLVU, ("video_name",)),
    Layout("MLVU tsv", "mlvu.tsv", _source(MLVU, "mlvu.tsv"), _tsv, "index", "index", "literal", "answer_number", _TSV,
           ("video_name",)),
    Layout("Video-MME json", "mme.json", _source(VideoMME, "mme.json", **_SUBTITLED), _videomme, "letter", "letter",
           "list", "answer", _MME, ("videoID",), _srt),
    Layout("Video-MME parquet", "mme.parquet", _source(VideoMME, "mme.parquet", **_SUBTITLED), _videomme, "letter",
           "letter", "list", "answer", _MME, ("videoID",), _srt),
    Layout("Video-MME tsv", "mme.tsv", _source(VideoMME, "mme.tsv", **_SUBTITLED), _tsv, "index", "index", "literal",
           "answer_number", _TSV, ("video_name",), _srt),
    Layout("LVBench jsonl", "lvbench.jsonl", _source(LVBench, "lvbench.jsonl"), _lvbench, "letter", "letter", "lines",
           "qa.0.answer", _LVBENCH, ("key",)),
    Layout("LVBench parquet", "lvbench.parquet", _source(LVBench, "lvbench.parquet"), _lvbench_table, "letter",
           "letter", "list", "answer", _LVBENCH, ("video_path",)),
    Layout("LVBench tsv", "lvbench.tsv", _source(LVBench, "lvbench.tsv"), _tsv, "index", "index", "literal",
           "answer_number", _TSV, ("video_name",)),
    Layout("NExT-GQA csv", "test.csv", _source(NExTGQA, "test.csv"), _nextgqa, "text", "text", "columns:a", "answer",
           {"video_id": "video sample_id evidence_s duration_s", "qid": "sample_id evidence_s", "question": "question",
            "type": "groups"}, ("video_id",), _grounding),
    Layout("TSPO-10K jsonl", "tspo.jsonl", _source(TSPO10K, "tspo.jsonl"), _tspo, "both", "letter", "lines",
           "original_answer", {"id": "sample_id", "video": "video", "original_question": "question", "type": "groups"},
           ("video",)),
    Layout("LLaVA-Video json", "llava.json", _source(LLaVAVideo, "llava.json"), _llava, "both", "letter", "lines",
           "conversations.1.value", {"id": "sample_id", "video": "video", "data_source": "groups",
                                     "conversations": "question"}, ("video",)),
    Layout("long-video QA json", "long.json", _source(LongVideoQA, "long.json"), _long, "both", "either", "list",
           "answer", {"id": "sample_id", "video": "video", "duration": "duration_s evidence_s", "question": "question",
                      "type": "groups", "pass_rate": "pass_rate", "evidence": "evidence_s"}, ("video",)),
    Layout("own json", "own.json", _source(MultipleChoice, "own.json", **_SUBTITLED), _own, "both", "either", "list",
           "answer", _OWN, ("video", "subtitles"), _srt),
    Layout("own jsonl", "own.jsonl", _source(MultipleChoice, "own.jsonl", answers="index_from_0", **_SUBTITLED), _own,
           "index", "index", "list", "answer", _OWN, ("video", "subtitles"), _srt),
    Layout("own csv", "own.csv", _source(MultipleChoice, "own.csv", answers="letter"), _own_columns, "letter", "letter",
           "columns:option", "answer", _OWN, ("video",)),
    Layout("own csv, lists", "lists.csv", _source(MultipleChoice, "lists.csv", answers="text"), _own_text, "text",
           "text", "literal", "answer", _OWN, ("video",)),
]  # fmt: skip
