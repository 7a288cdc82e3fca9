"""A reasoner without a model: it reads memories of Haystack videos by the rules that the small one is taught.

    lightning run recipes/videolucy_localizer.yaml --overlay tests/benchmarks/rules.yaml --user-dir tests/benchmarks

It stands for a language model that makes no mistakes in reading, so that what is left is what captions say and where
was looked. Like any reasoner it sees a prompt and nothing else (prompts: recipes/haystack/prompts/videolucy; notation:
starts, nothing left out but "nothing", no repeats), and it knows how long the spans of each depth are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from datamodules.haystack.memory_lessons import _verdict
from datamodules.haystack.memory_notes import Item, Note
from datamodules.haystack.reading_notes import Reading, Subject, guess, read, relevant, where
from modules.parsing import LETTERS
from modules.records import VideoQuestion
from modules.roles.reasoner import Message, Reasoner, Written

_LINE = re.compile(r"^( *)(\d+)(?: (.*))?$")
_LENGTHS = {"letter": 3, "dots": 3, "box": 3}
"""Words for a thing: "red letter A", "red dots 4", "red box blue"; two for all others."""


class RuleReasoner(Reasoner):
    """Fills in the roles' forms.

    Args:
        scopes_s: length of a span at each level.
        depths: as which of the three depths of `datamodules.haystack.reading_notes` a level counts: from 1 on shapes
            can be told apart, from 2 on dots be counted.
        num_relevant: coarse periods that may be named at the start.
    """

    def __init__(self, *, scopes_s: list[float], depths: list[int], num_relevant: int = 3) -> None:
        super().__init__()
        self.scopes_s, self.depths, self.num_relevant = scopes_s, depths, num_relevant

    def describe(self) -> dict[str, Any]:
        return {"reasoner": "rules of reading", "scopes_s": self.scopes_s, "depths": self.depths}

    def write(self, messages: Sequence[Message]) -> Written:
        lines = messages[0].text.splitlines()
        text = json.dumps(self._filled_in(lines[-1], lines[:-1]), separators=(",", ":"))
        return Written(text, len(messages[0].text.split()), len(text.split()))

    def _filled_in(self, role: str, lines: Sequence[str]) -> dict[str, Any]:
        question, notes, searched = self._read(lines)
        subject, options = Subject.of(question), question.options
        readable = [note for note in notes if note.items]
        if not options and role in ("answer", "forced"):  # the rules read options; an open question is not for them
            return {"confident": False, "answer": "unknown"}
        if role == "answer":
            return _verdict(read(subject, options, readable, searched), question)
        if role == "forced":
            found = guess(subject, options, readable)
            return _verdict(found if found.answer else Reading(options[0]), question)
        told: dict[str, Any] = {"instruction": " ".join(subject.words)}
        if role == "relevant":
            kept = relevant(subject, notes, self.num_relevant)
            return {"whole_video": not kept, "periods": [round(note.start_s) for note in kept]}
        if role == "locate":
            target = where(subject, options, readable, searched)
            return {**told, "period": round(target.start_s)} if target is not None else {}
        return told

    def _read(self, lines: Sequence[str]) -> tuple[VideoQuestion, list[Note], list[Note]]:
        options = [line[3:] for line in lines[1:] if re.match(r"^[A-Z]\. ", line)]
        question = VideoQuestion("", "", "", "", 0.0, lines[0], tuple(options[: len(LETTERS)]))
        notes = [note for line in lines[1 + len(options) :] if (note := self._note(line)) is not None]
        told = next((line for line in lines if line.startswith("searched ")), "")
        starts = [float(second) for second in re.findall(r"\d+", told)]
        return question, notes, self._searched(notes, starts)

    def _searched(self, notes: Sequence[Note], starts: Sequence[float]) -> list[Note]:
        """Those that are named; and where nobody says, those that have parts."""
        parts = [n for n in notes if any(o.level > n.level and o in n for o in notes)]
        return [n for n in notes if n in parts or n.start_s in starts]

    def _note(self, line: str) -> Note | None:
        found = _LINE.match(line)
        if found is None:
            return None
        level, start = len(found[1]) // 2, float(found[2])
        if level >= len(self.scopes_s):
            return None
        return Note(self.depths[level], start, start + self.scopes_s[level], tuple(_items((found[3] or "").split())))


def _items(words: Sequence[str]) -> list[Item]:
    found: list[Item] = []
    place = 0
    while place + 1 < len(words):
        size = _LENGTHS.get(words[place + 1], 2)
        found.append(tuple(words[place : place + size]))
        place += size
    return found
