"""Lessons for the small reasoner: notes on a video, a question, and what each role of VideoLucy is to write.

Every lesson is a moment of a search like those of the agent: coarse notes of a plan that no other part of
the project uses, some of them looked at more closely, by somebody who mostly looks where it makes sense.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import lightning as L
import numpy as np
from torch.utils.data import DataLoader, IterableDataset

from datamodules.haystack.examples import FIRST_UNSEEN
from datamodules.haystack.memory_look_ups import LookUps, look_up_batch
from datamodules.haystack.memory_notes import Note, Slips, notes_of
from datamodules.haystack.questions import ask
from datamodules.haystack.reading_notes import (
    Reading,
    Subject,
    guess,
    leading,
    ordered,
    read,
    relevant,
    rest_from,
    where,
)
from datamodules.haystack.world import VideoPlan, World
from modules.parsing import LETTERS
from modules.records import VideoQuestion

_MOST_LOOKS = 5
_LESSONS_PER_VIDEO = 4
_BATCHES_SORTED = 8


@dataclass(frozen=True)
class Lesson:
    """One call of the reasoner."""

    role: str
    """Name of the prompt."""
    question: str
    """With its options, as the agent writes them."""
    notes: tuple[Note, ...]
    searched: tuple[Note, ...]
    period: Note | None
    """That is to be described again, where the role is told one."""
    answer: dict[str, Any]
    """The form; a note in it stands for whatever the notation calls it."""


@dataclass(frozen=True, kw_only=True)
class MemoryLessons:
    """Draws lessons.

    Args:
        world: what the videos are like.
        scopes_s: seconds of a note at each depth.
        slips: of the captioner, at each depth.
        kinds: relative weight of each kind of question.
        roles: relative weight of each role.
        num_relevant: coarse notes that may be named at the start.
        astray_frac: share of the looks that go anywhere.
        num_look_ups: batches at the beginning that are nothing but look-ups (`datamodules.haystack.memory_look_ups`).
        num_short: batches after them whose memories have few coarse notes: what is to be copied from where is
            learnt much sooner on those.
        most_notes: of those memories.
    """

    world: World
    scopes_s: tuple[float, float, float] = (20.0, 10.0, 5.0)
    slips: list[Slips] = field(default_factory=lambda: [Slips(), Slips(), Slips()])
    kinds: dict[str, float]
    roles: dict[str, float] = field(
        default_factory=lambda: {"relevant": 1.0, "locate": 2.0, "answer": 3.0, "forced": 1.0, "instruct": 0.3}
    )
    num_relevant: int = 3
    astray_frac: float = 0.25
    num_look_ups: int = 0
    num_short: int = 0
    most_notes: int = 4

    def draw(self, rng: np.random.Generator, count: int, most_notes: int | None = None) -> list[Lesson]:
        """Some lessons on one video.

        Args:
            rng: draws them.
            count: how many.
            most_notes: coarse notes in a row that are there at first; None leaves all.
        """
        plan = self.world.plan("stream", int(rng.integers(FIRST_UNSEEN, 2**40)))
        questions = ask(plan, "stream", "", {kind: 10 for kind in self.kinds if kind != "order"} | {"order": 2}, rng)
        weights = np.array([self.kinds[str(q.groups["kind"])] for q in questions])
        weights /= [sum(q.groups["kind"] == other.groups["kind"] for other in questions) for q in questions]
        scope_s = self.scopes_s[0]
        whole = (
            float(plan.events[0].start_s // scope_s * scope_s),
            float((plan.events[-1].end_s // scope_s + 1) * scope_s),
        )
        notes = self._parts(plan, 0, whole, rng)
        lessons: list[Lesson] = []
        while len(lessons) < count:
            question = questions[rng.choice(len(questions), p=weights / weights.sum())]
            if len(question.options) != 4:
                continue
            there = notes if most_notes is None else _some(notes, Subject.of(question), most_notes, rng)
            lesson = self._draw(plan, question, there, rng)
            lessons += [] if lesson is None else [lesson]
        return lessons

    def _draw(
        self, plan: VideoPlan, question: VideoQuestion, notes: list[Note], rng: np.random.Generator
    ) -> Lesson | None:
        """A lesson on a question; none where its role has nothing to do, as a search that is over."""
        weights = np.array(list(self.roles.values()))
        role = str(rng.choice(list(self.roles), p=weights / weights.sum()))
        subject = Subject.of(question)
        if role == "relevant":
            return _lesson(role, question, notes, (), self._relevant(subject, notes))
        notes, searched = self._search(plan, subject, question, notes, rng)
        readable = [n for n in notes if n.items]
        reading = read(subject, question.options, readable, searched)
        if role == "answer":
            return _lesson(role, question, notes, searched, _verdict(reading))
        if role == "forced":
            found = guess(subject, question.options, readable)
            found = replace(found, answer=found.answer or str(question.answer))
            return _lesson(role, question, notes, searched, _verdict(found))
        told: dict[str, Any] = {"instruction": " " + " ".join(subject.words)}
        if role == "instruct":
            at = notes[int(rng.integers(len(notes)))]
            return _lesson(role, question, notes, searched, told, at)
        target = where(subject, question.options, readable, searched)
        if target is None or reading.certain:
            return None
        reason = " " + rest_from(leading(subject, question.options, target), target)
        return _lesson(role, question, notes, searched, {**told, "reason": reason, "period": target})

    def _parts(self, plan: VideoPlan, level: int, stretch: tuple[float, float], rng: np.random.Generator) -> list[Note]:
        return notes_of(plan, level, stretch, self.scopes_s[level], self.slips[level], rng)

    def _relevant(self, subject: Subject, notes: list[Note]) -> dict[str, Any]:
        found = relevant(subject, notes, self.num_relevant)
        return {"reason": " " + " ".join(subject.words), "whole_video": not found, "periods": found}

    def _search(
        self, plan: VideoPlan, subject: Subject, question: VideoQuestion, notes: list[Note], rng: np.random.Generator
    ) -> tuple[list[Note], list[Note]]:
        """Notes and what was searched, some looks later."""
        kept = relevant(subject, notes, self.num_relevant)
        if rng.random() < 0.2:
            kept = [notes[place] for place in rng.permutation(len(notes))[: self.num_relevant]]
        if kept and rng.random() < 0.8:
            places = {notes.index(note) + step for note in kept for step in (-1, 0, 1)}
            notes = [note for place, note in enumerate(notes) if place in places]
        searched: list[Note] = []
        for _ in range(int(rng.integers(0, _MOST_LOOKS + 1))):
            readable = [n for n in notes if n.items]
            if read(subject, question.options, readable, searched).certain:
                break
            look = where(subject, question.options, readable, searched)
            choice = [n for n in notes if n.level < 2 and n not in searched]
            if not choice:
                break
            if look is None or rng.random() < self.astray_frac:
                look = choice[int(rng.integers(len(choice)))]
            searched.append(look)
            notes = notes + self._parts(plan, look.level + 1, (look.start_s, look.end_s), rng)
        return notes, searched


def _lesson(
    role: str,
    question: VideoQuestion,
    notes: Sequence[Note],
    searched: Sequence[Note],
    answer: dict[str, Any],
    period: Note | None = None,
) -> Lesson:
    options = [f"{letter}. {option}" for letter, option in zip(LETTERS, question.options, strict=False)]
    text = "\n".join([question.question, *options])
    return Lesson(role, text, tuple(ordered(notes)), tuple(searched), period, answer)


def _some(notes: list[Note], subject: Subject, most: int, rng: np.random.Generator) -> list[Note]:
    """So many notes in a row that say something, with those between that say nothing; mostly around the subject."""
    readable = [note for note in notes if note.items]
    mine = [place for place, note in enumerate(readable) if any(map(subject.is_in, note.items))]
    at = mine[rng.integers(len(mine))] if mine and rng.random() < 0.8 else int(rng.integers(len(readable)))
    count = int(rng.integers(1, most + 1))
    first = max(0, at - int(rng.integers(count)))
    last = min(first + count, len(readable)) - 1
    return notes[notes.index(readable[first]) : notes.index(readable[last]) + 1]


def _verdict(reading: Reading) -> dict[str, Any]:
    # its text, as the notes have it: a letter would have to be looked up among the options, and "A" can be both
    option = f" {reading.answer}" if reading.answer else ""
    reason = f" {reading.reason}" if reading.reason else ""
    return {"reason": reason, "period": reading.note, "confident": reading.certain, "answer": option}


class _Lessons(IterableDataset):
    """Batches of lessons of about one length, so that little of them is padding; before them, look-ups."""

    def __init__(
        self, lessons: MemoryLessons, size: int, num_batches: int, seed: int, *, num_look_ups: int, num_short: int
    ) -> None:
        self.lessons, self.size, self.num_batches = lessons, size, num_batches
        self.seed, self.num_look_ups, self.num_short = seed, min(num_look_ups, num_batches), num_short

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[Lesson] | list[LookUps]]:
        for number in range(self.num_look_ups):
            yield look_up_batch(np.random.default_rng([self.seed, number, 1]), number)
        num_lessons = self.num_batches - self.num_look_ups
        for first in range(0, num_lessons, _BATCHES_SORTED):
            rng = np.random.default_rng([self.seed, first])
            num_videos = -(-_BATCHES_SORTED * self.size // _LESSONS_PER_VIDEO)
            most = self.lessons.most_notes if first < self.num_short else None
            drawn = [one for _ in range(num_videos) for one in self.lessons.draw(rng, _LESSONS_PER_VIDEO, most)]
            drawn.sort(key=lambda lesson: sum(len(note.items) for note in lesson.notes))
            for place in rng.permutation(_BATCHES_SORTED)[: num_lessons - first]:
                yield drawn[place * self.size : (place + 1) * self.size]


class MemoryLessonData(L.LightningDataModule):
    """Batches of lessons; none comes twice.

    Args:
        lessons: what they are like.
        batch_size: lessons a batch.
        num_batches: of the training.
        num_val_batches: of validation, on other plans.
        seed: of all.
    """

    def __init__(
        self,
        *,
        lessons: MemoryLessons,
        batch_size: int = 64,
        num_batches: int = 1000,
        num_val_batches: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.lessons, self.batch_size, self.num_batches = lessons, batch_size, num_batches
        self.num_val_batches, self.seed = num_val_batches, seed

    def train_dataloader(self) -> DataLoader:
        lessons = self.lessons
        return self._loader(self.num_batches, self.seed, lessons.num_look_ups, lessons.num_short)

    def val_dataloader(self) -> DataLoader:
        return self._loader(self.num_val_batches, self.seed + 1, 0, 0)

    def _loader(self, num_batches: int, seed: int, num_look_ups: int, num_short: int) -> DataLoader:
        drawn = _Lessons(
            self.lessons, self.batch_size, num_batches, seed, num_look_ups=num_look_ups, num_short=num_short
        )
        return DataLoader(drawn, batch_size=None)
