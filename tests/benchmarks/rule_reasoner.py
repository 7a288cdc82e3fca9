"""A reasoner without a model: it reads memories of Haystack videos by the rules that the small one is taught.

    lightning run recipes/videolucy_localizer.yaml --overlay tests/benchmarks/rules.yaml --user-dir tests/benchmarks

It stands for a language model that makes no mistakes in reading, so that what is left is what captions say and where
was looked. Like any reasoner it sees a prompt and nothing else (prompts: recipes/haystack/prompts/videolucy; notation:
starts, with marks, nothing left out but "nothing", no repeats), and it knows how long the spans of each depth are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from datamodules.haystack.memory_notes import Item, Note
from datamodules.haystack.reading_notes import Reading, Subject, guess, read, relevant, where
from modules.parsing import LETTERS
from modules.records import VideoQuestion
from modules.roles.reasoner import Message, Reasoner, Written

_LINE = re.compile(r"^( *)(\d+)(\*?)(?: (.*))?$")
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
            return _verdict(read(subject, options, readable, searched))
        if role == "forced":
            found = guess(subject, options, readable)
            return _verdict(found if found.answer else Reading(options[0]))
        told: dict[str, Any] = {"instruction": subject.phrase}
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
        notes, searched = list[Note](), list[Note]()
        for line in lines[1 + len(options) :]:
            found = _LINE.match(line)
            if found is None or len(found[1]) // 2 >= len(self.scopes_s):
                continue
            notes.append(self._note(len(found[1]) // 2, float(found[2]), found[4] or ""))
            searched += [notes[-1]] if found[3] else []
        return question, notes, searched

    def _note(self, level: int, start_s: float, text: str) -> Note:
        return Note(self.depths[level], start_s, start_s + self.scopes_s[level], tuple(_items(text.split())))


def _verdict(reading: Reading) -> dict[str, Any]:
    period = None if reading.note is None else round(reading.note.start_s)
    return {"reason": reading.reason, "period": period, "confident": reading.certain, "answer": reading.answer}


def _items(words: Sequence[str]) -> list[Item]:
    found: list[Item] = []
    place = 0
    while place + 1 < len(words):
        size = _LENGTHS.get(words[place + 1], 2)
        found.append(tuple(words[place : place + size]))
        place += size
    return found
