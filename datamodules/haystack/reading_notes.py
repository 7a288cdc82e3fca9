"""What can be read in notes on a Haystack video about a question: the lessons of a small reasoner.

Nothing here knows what happens in the video: it reads the notes, as the reasoner is to learn to. It is certain where
the notes say the answer at a depth at which such things can be seen, and not where they merely make it likely.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from datamodules.haystack.memory_notes import Item, Note
from datamodules.haystack.world import SHAPES
from modules.records import VideoQuestion

_NOUNS = {"letter": "letter", "dots": "dots", "box": "box", "ball": "ball"}
_ORDINALS = {"first": 0, "last": -1}
_NEVER = 9
_PHRASES = {"before": ("before",), "after": ("after",), "order": ("comes",), "count": ("times",)}


@dataclass(frozen=True)
class Reading:
    """An answer that was read, or none."""

    answer: str = ""
    """An option's text; empty where the notes do not say."""
    reason: str = ""
    """The words of the notes that say so."""
    note: Note | None = None
    """Where they stand."""
    certain: bool = False


@dataclass(frozen=True)
class Subject:
    """What a question is about, from its words alone.

    ``kind`` is of `QUESTION_KINDS`, or ``sign`` for a needle that is no shape; ``words`` are what to look for.
    """

    kind: str
    words: tuple[str, ...]

    @classmethod
    def of(cls, question: VideoQuestion) -> Subject:
        words = [word.strip("?,:") for word in question.question.split()]
        shapes = tuple(word for word in words if word in SHAPES)
        for word in _ORDINALS:
            if word in words and "shape" in words:
                return cls({"first": "begin", "last": "end"}[word], (word, "shape"))
        if "comes" in words:
            return cls("order", shapes)
        if "times" in words:
            return cls("count", shapes)
        for word in ("before", "after"):
            if word in words:
                return cls(word, shapes)
        if shapes:
            return cls("needle", shapes)
        noun = next(noun for noun in _NOUNS if noun in words)
        # "the box beside the red box": the colour before the last noun; "Which letter is red?": the last word
        colour = words[-1] if noun == "letter" else words[len(words) - 1 - words[::-1].index(noun) - 1]
        return cls("sign", (colour, noun))

    @property
    def phrase(self) -> str:
        """What is to be looked for, and nothing else: two questions of one phrase lead to the same places."""
        return " ".join([*_PHRASES.get(self.kind, ()), *self.words])

    @property
    def depth(self) -> int:
        """From which depth on notes are to be believed; dots are small, and where a ball goes nobody writes."""
        return {"dots": 2, "ball": _NEVER}.get(self.words[-1], 1) if self.kind == "sign" else 1

    def is_in(self, item: Item) -> bool:
        """Whether a thing is what is to be looked for."""
        if self.kind == "sign":
            return item[:2] == self.words
        if self.kind in _ORDINALS.values() or self.kind in ("begin", "end"):
            return is_shape(item)
        return is_shape(item) and item[1] in self.words


def is_shape(item: Item) -> bool:
    return len(item) == 2 and item[1] in SHAPES


def ordered(notes: Iterable[Note]) -> list[Note]:
    """As a memory lists them."""
    return sorted(notes, key=lambda note: (note.start_s, note.level))


def finest(notes: Sequence[Note], from_level: int) -> list[Note]:
    """Notes of a depth or deeper, without those whose parts are there too, in order."""
    deep = [n for n in notes if n.level >= from_level]
    return [n for n in ordered(deep) if not any(n.level < other.level and other in n for other in deep)]


def read(subject: Subject, options: Sequence[str], notes: Sequence[Note], searched: Sequence[Note]) -> Reading:
    """The answer as far as it can be relied on: certain, or none at all."""
    found = _read(subject, finest(notes, subject.depth))
    certain = bool(found.answer) and found.answer in options
    if subject.kind in ("begin", "end"):
        certain = certain and _edge_was_seen(subject, notes, found)
    if subject.kind == "order":
        certain = certain and len(found.reason.split()) == len(subject.words)
    if subject.kind == "count":
        coarse = [n for n in notes if n.level == 0 and any(map(is_shape, n.items))]
        certain = certain and all(n in searched for n in coarse)
    return Reading(found.answer, found.reason, found.note, True) if certain else Reading()


def guess(subject: Subject, options: Sequence[str], notes: Sequence[Note]) -> Reading:
    """The likeliest answer, from the deepest notes that say anything; none where none does."""
    for level in (2, 1, 0):
        found = _read(subject, finest(notes, level))
        if found.answer in options:
            return found
    return Reading()


def _read(subject: Subject, notes: Sequence[Note]) -> Reading:
    things = [(item, note) for note in notes for item in note.items]
    if subject.kind in ("before", "after"):
        return _beside(subject, things)
    mine = [(item, note) for item, note in things if subject.is_in(item)]
    mine = [pair for place, pair in enumerate(mine) if place == 0 or pair[0] != mine[place - 1][0]]
    if not mine:
        return Reading()
    if subject.kind == "count":
        return Reading(str(len(mine)), " ".join(item[1] for item, _ in mine), mine[0][1])
    if subject.kind == "order":
        names = list(dict.fromkeys(item[1] for item, _ in mine))
        return Reading(names[0], " ".join(names), mine[0][1])
    item, note = mine[-1] if subject.kind == "end" else mine[0]
    answer = item[2] if subject.kind == "sign" and len(item) == 3 else "" if subject.kind == "sign" else item[0]
    return Reading(answer, rest_from(item, note), note)


def _beside(subject: Subject, things: Sequence[tuple[Item, Note]]) -> Reading:
    """The shape right before or after the one that is named, in the same note or in the next one without a gap."""
    for (item, note), (later, later_note) in pairwise(
        t for n, t in enumerate(things) if not n or t[0] != things[n - 1][0]
    ):
        if not (is_shape(item) and is_shape(later) and later_note.start_s <= note.end_s):
            continue
        named, other = (later, item) if subject.kind == "before" else (item, later)
        if named[1] in subject.words:
            return Reading(other[0], " ".join([*item, rest_from(later, later_note)]), later_note)
    return Reading()


def _edge_was_seen(subject: Subject, notes: Sequence[Note], found: Reading) -> bool:
    """Whether no coarse note on the outer side of the answer tells of a shape."""
    shapes = [n for n in ordered(notes) if n.level == 0 and any(map(is_shape, n.items))]
    if not shapes or found.note is None:
        return False
    outermost = shapes[0] if subject.kind == "begin" else shapes[-1]
    inside = outermost.start_s <= found.note.start_s < outermost.end_s
    outside = (
        found.note.start_s < outermost.start_s if subject.kind == "begin" else found.note.start_s >= outermost.end_s
    )
    return inside or outside


def rest_from(item: Item, note: Note) -> str:
    """The words of a note from a thing to its end, which is where a memory may say when that was."""
    return " ".join(word for other in note.items[note.items.index(item) :] for word in other)


def relevant(subject: Subject, notes: Sequence[Note], most: int) -> list[Note]:
    """Coarse notes that a question is about; none where it is about the whole video, or nobody can tell."""
    if subject.kind in ("order", "count"):
        return []
    mine = [n for n in ordered(notes) if any(map(subject.is_in, n.items))]
    if subject.kind == "begin":
        return mine[:1]
    if subject.kind == "end":
        return mine[-1:]
    return mine[:most]


def where(subject: Subject, options: Sequence[str], notes: Sequence[Note], searched: Sequence[Note]) -> Note | None:
    """The note to look at more closely: the deepest that names the thing, or else one that may have misread it."""
    read_notes = [n for n in ordered(notes) if n.items]
    choice = [n for n in read_notes if n.level < 2 and n not in searched]
    naming = [n for n in choice if any(map(subject.is_in, n.items))]
    if subject.kind == "end":
        naming.reverse()
    if subject.kind in ("begin", "end"):
        edge = (0, -1)[subject.kind == "end"]
        coarse = [n for n in read_notes if n.level == 0 and any(map(is_shape, n.items))]
        return coarse[edge] if coarse and coarse[edge] in choice else next(iter(naming or choice), None)
    if subject.kind == "sign":
        deeper = [n for n in naming if n.level < subject.depth]
        if deeper:
            return max(deeper, key=lambda n: n.level)
        alike = [n for n in choice if n.level == 0 and any(item[0] == subject.words[0] for item in n.items)]
        return next(iter(alike or choice), None)
    seen = {item[1] for n in finest(notes, 1) for item in n.items if is_shape(item)}
    if subject.kind in ("before", "after") and set(subject.words) <= seen:
        return _next_to(subject, notes, choice)
    new = [
        n
        for n in naming
        if n.level == 0 and any(i[1] not in seen or subject.kind == "count" for i in n.items if subject.is_in(i))
    ]
    wanted = [n for n in choice if n.level == 0 and any(is_shape(i) and _fits(subject, options, i) for i in n.items)]
    return next(iter(new or wanted or choice), None)


def leading(subject: Subject, options: Sequence[str], note: Note) -> Item:
    """What in a note leads there: the thing itself, or else what it may have been taken for."""
    wanted = [
        [item for item in note.items if subject.is_in(item)],
        [item for item in note.items if subject.kind == "sign" and item[0] == subject.words[0]],
        [item for item in note.items if is_shape(item) and _fits(subject, options, item)],
    ]
    return next((items[0] for items in wanted if items), note.items[0])


def _fits(subject: Subject, options: Sequence[str], item: Item) -> bool:
    return subject.kind != "needle" or item[0] in options


def _next_to(subject: Subject, notes: Sequence[Note], choice: Sequence[Note]) -> Note | None:
    """The open coarse note beside the one in which the named shape was found."""
    found = next(n for n in finest(notes, 1) if any(map(subject.is_in, n.items)))
    coarse = [n for n in choice if n.level == 0]
    sides = {
        "before": [n for n in coarse if n.end_s <= found.start_s][-1:],
        "after": [n for n in coarse if n.start_s >= found.end_s][:1],
    }
    return next(iter(sides[subject.kind] or coarse or choice), None)
