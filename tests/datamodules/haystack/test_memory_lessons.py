"""Notes that are made up from plans, what can be read in them, and lessons: by hand, and held against plans."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from datamodules.haystack.memory_lessons import MemoryLessons
from datamodules.haystack.memory_look_ups import look_up_batch
from datamodules.haystack.memory_notes import Note, Slips, notes_of
from datamodules.haystack.questions import ask
from datamodules.haystack.reading_notes import Subject, guess, leading, read, relevant, where
from datamodules.haystack.world import World
from modules.parsing import parse_option
from modules.records import VideoQuestion

KINDS = {"needle": 4.0, "begin": 1.0, "end": 1.0, "before": 1.0, "after": 1.0, "order": 1.0, "count": 1.0}
COLOURS = ("red", "green", "blue", "white")
SCOPES_S = (20.0, 10.0, 5.0)


def question(text: str, options: tuple[str, ...] = COLOURS) -> VideoQuestion:
    return VideoQuestion("haystack", "stream", "q", "", 600.0, text, options, 0)


def note(level: int, start_s: float, text: str) -> Note:
    lasts_s, words, items = SCOPES_S[level], text.split(), []
    while words:
        length = 3 if len(words) > 1 and words[1] in ("letter", "dots", "box") else 2
        items.append(tuple(words[:length]))
        words = words[length:]
    return Note(level, start_s, start_s + lasts_s, tuple(items))


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("What colour is the star?", "needle", ("star",)),
        ("Which letter is red?", "sign", ("red", "letter")),
        ("How many green dots are on the card?", "sign", ("green", "dots")),
        ("Which colour is the box beside the blue box?", "sign", ("blue", "box")),
        ("Which way does the white ball move?", "sign", ("white", "ball")),
        ("What colour is the first shape?", "begin", ("first", "shape")),
        ("What colour is the last shape?", "end", ("last", "shape")),
        ("What colour is the shape right before the moon?", "before", ("moon",)),
        ("Which comes first: star, ring, heart or moon?", "order", ("star", "ring", "heart", "moon")),
        ("How many times is a ring shown?", "count", ("ring",)),
    ],
)
def test_what_a_question_is_about(text: str, kind: str, words: tuple[str, ...]) -> None:
    assert Subject.of(question(text)) == Subject(kind, words)


def test_a_coarse_note_is_a_hint_and_a_finer_one_an_answer() -> None:
    star = Subject.of(question("What colour is the star?"))
    coarse, other = note(0, 40, "green star"), note(0, 80, "blue ring")
    assert not read(star, COLOURS, [coarse, other], []).certain
    assert where(star, COLOURS, [coarse, other], []) == coarse
    assert guess(star, COLOURS, [coarse, other]).answer == "green"
    fine = note(1, 50, "white star")
    found = read(star, COLOURS, [coarse, fine, other], [coarse])
    assert (found.answer, found.reason, found.note, found.certain) == ("white", "white star", fine, True)


def test_a_reason_goes_on_to_the_end_of_its_note_where_the_name_of_the_note_stands() -> None:
    star = Subject.of(question("What colour is the star?"))
    assert read(star, COLOURS, [note(1, 50, "red ring white star blue moon")], []).reason == "white star blue moon"
    letter = Subject.of(question("Which letter is red?", ("A", "K", "S", "T")))
    told = {"a red letter": "blue moon red letter K", "something red": "blue moon red star", "anything": "blue moon"}
    assert [leading(letter, ("A", "K", "S", "T"), note(0, 0, text))[0] for text in told.values()] == [
        "red",
        "red",
        "blue",
    ]


def test_dots_have_to_be_seen_closely_and_nobody_writes_where_a_ball_goes() -> None:
    dots, numbers = Subject.of(question("How many red dots are on the card?")), ("1", "2", "3", "4")
    coarse, fine = note(0, 40, "red dots 1"), note(1, 40, "red dots 2")
    assert not read(dots, numbers, [coarse, fine], [coarse]).certain
    assert where(dots, numbers, [coarse, fine], [coarse]) == fine
    assert read(dots, numbers, [coarse, fine, note(2, 45, "red dots 4")], [coarse, fine]).answer == "4"
    ball, ways = Subject.of(question("Which way does the red ball move?")), ("left", "right", "up", "down")
    assert not read(ball, ways, [note(2, 40, "red ball")], []).certain


def test_the_shape_beside_another_is_read_across_notes_without_a_gap_between() -> None:
    before = Subject.of(question("What colour is the shape right before the moon?"))
    near = [note(1, 40, "red ring"), note(1, 50, "blue moon")]
    assert read(before, COLOURS, near, []).answer == "red"
    assert not read(before, COLOURS, [note(1, 40, "red ring"), note(1, 60, "blue moon")], []).certain
    after = Subject.of(question("What colour is the shape right after the moon?"))
    twice = [note(1, 40, "red ring blue moon"), note(1, 50, "blue moon green star")]
    assert read(after, COLOURS, twice, []).answer == "green"


def test_order_and_count_are_certain_only_when_everything_was_seen() -> None:
    order = Subject.of(question("Which comes first: star, ring, heart or moon?"))
    names = ("star", "ring", "heart", "moon")
    seen = [note(1, 40, "red ring blue moon"), note(1, 90, "red star")]
    assert not read(order, names, seen, []).certain
    assert read(order, names, [*seen, note(1, 10, "red heart")], []).answer == "heart"
    count, coarse = Subject.of(question("How many times is a ring shown?")), note(0, 40, "red ring")
    notes = [coarse, note(1, 40, "red ring"), note(1, 50, "blue ring")]
    assert read(count, ("1", "2", "3", "4"), notes, [coarse]).answer == "2"
    assert not read(count, ("1", "2", "3", "4"), [*notes, note(0, 80, "red star")], [coarse]).certain


def test_without_slips_what_is_certain_is_right_and_the_evidence_is_found() -> None:
    """A search that looks where it makes sense ends rightly, unless all frames missed the first or last shape."""
    right, kinds = [], set()
    for number in range(12):
        plan = World(seed=9).plan("stream", number)
        rng = np.random.default_rng(number)
        for asked in ask(plan, "stream", "", {"needle": 8, "before": 2, "after": 2, "begin": 1, "end": 1}, rng):
            subject = Subject.of(asked)
            notes, searched = notes_of(plan, 0, (0.0, 600.0), 20.0, Slips(), rng), []
            for _ in range(6):
                readable = [n for n in notes if n.items]
                found = read(subject, asked.options, readable, searched)
                look = where(subject, asked.options, readable, searched)
                if found.certain or look is None:
                    break
                searched.append(look)
                below = look.level + 1
                notes = notes + notes_of(plan, below, (look.start_s, look.end_s), SCOPES_S[below], Slips(), rng)
            if found.certain:
                right.append(found.answer == asked.answer)
                kinds.add(subject.words[-1] if subject.kind == "sign" else subject.kind)
                assert right[-1] or subject.kind in ("begin", "end"), (asked, found)
    assert len(right) > 90
    assert np.mean(right) > 0.95
    assert kinds >= {"needle", "begin", "end", "before", "after", "letter", "dots", "box"}
    assert "ball" not in kinds


def test_slips_are_as_frequent_as_they_say() -> None:
    plan = World(seed=9).plan("stream", 0)
    rng = np.random.default_rng(0)
    truth = {item for n in notes_of(plan, 0, (0.0, 600.0), 5.0, Slips(), rng) for item in n.items}
    assert len(truth) >= 12
    assert not any(n.items for n in notes_of(plan, 0, (0.0, 600.0), 5.0, Slips(unseen=1, unseen_cards=1), rng))
    wrong = [
        item
        for _ in range(40)
        for n in notes_of(plan, 0, (0.0, 600.0), 5.0, Slips(shape=0.5), rng)
        for item in n.items
        if len(item) == 2 and item[1] != "ball"
    ]
    assert 0.3 < np.mean([item not in truth for item in wrong]) < 0.5  # some other shapes of the video are true as well


def test_relevant_names_no_period_where_the_whole_video_is_meant() -> None:
    notes = [note(0, 20 * n, "red ring") for n in range(5)]
    assert relevant(Subject.of(question("How many times is a ring shown?")), notes, 3) == []
    assert relevant(Subject.of(question("What colour is the ring?")), notes, 3) == notes[:3]
    assert relevant(Subject.of(question("What colour is the last shape?")), notes, 3) == notes[-1:]


def test_lessons_are_seeded_and_fit_the_roles() -> None:
    lessons = MemoryLessons(world=World(seed=9), kinds=KINDS, slips=[Slips(shape=0.4), Slips(), Slips()])
    drawn = lessons.draw(np.random.default_rng(3), 60)
    assert drawn == lessons.draw(np.random.default_rng(3), 60)
    assert {lesson.role for lesson in drawn} == {"relevant", "locate", "answer", "forced", "instruct"}
    for lesson in drawn:
        told, options = lesson.answer, [line[3:] for line in lesson.question.splitlines()[1:]]
        readable = [n for n in lesson.notes if n.items]
        if lesson.role == "locate":
            assert told["period"] in readable
            assert told["period"].text.endswith(told["reason"].strip())
            assert told["instruction"].strip()
        if lesson.role in ("answer", "forced") and told["answer"]:
            assert parse_option(told["answer"], options) is not None
        if lesson.role == "answer":
            assert told["confident"] == bool(told["answer"])
            assert not told["confident"] or told["period"] in readable
        if lesson.role == "forced":
            assert told["answer"]
            assert not told["confident"]


def test_look_ups_are_seeded_and_say_nothing_that_two_notes_have() -> None:
    few, many = (look_up_batch(np.random.default_rng(4), number) for number in (0, 1000))
    assert few == look_up_batch(np.random.default_rng(4), 0)
    assert {len(one.notes) for one in few} == {6}
    for one in [*few, *many]:
        assert {found for _, found in one.asked} == set(one.notes)
        for words, found in one.asked:
            assert [n for n in one.notes if n.text.endswith(words)] == [found]


def test_the_text_of_an_option_is_not_mistaken_for_the_letter_of_another() -> None:
    assert parse_option(" A", ["K", "A", "S", "T"]) == 1


def test_notes_do_not_depend_on_events_elsewhere() -> None:
    plan = World(seed=9).plan("stream", 1)
    first = plan.events[0]
    alone = replace(plan, events=(first,))
    stretch = (first.start_s // 20 * 20, first.start_s // 20 * 20 + 20)
    (whole,), (one,) = (notes_of(p, 0, stretch, 20.0, Slips(), np.random.default_rng(0)) for p in (plan, alone))
    assert one.items == whole.items[: len(one.items)]
