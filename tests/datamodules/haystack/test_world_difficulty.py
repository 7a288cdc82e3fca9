"""Worlds that are hard to search: what each option does, and that questions stay true and cannot be guessed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from datamodules.haystack.questions import ask
from datamodules.haystack.render import render
from datamodules.haystack.video_writing import world_dir
from datamodules.haystack.world import SHAPES, Event, VideoPlan, World
from datamodules.haystack.world_difficulty import Difficulty
from modules.records import Candidates, QuestionBatch, VideoQuestion
from modules.selection.evidence import oracle_selection

HARD = World(
    event_duration_s=(1.5, 5.0),
    gap_s=(15.0, 45.0),
    sign_kinds=("glyph", "dots", "boxes"),
    difficulty=Difficulty(edges_frac=0.15, look_alikes=True, scene_s=12.0, num_scenes=6),
)
ABSENT = World(
    duration_s=1200.0,
    event_duration_s=(1.6, 20.2),
    difficulty=Difficulty(absent_shape=True, uneven_durations=True),
)
KINDS = {"needle": 4, "begin": 1, "end": 1, "before": 2, "after": 2, "order": 2, "count": 2}
NEW_KINDS = {"never": 3, "how_long": 3}


def plans(world: World, number: int) -> list[VideoPlan]:
    return [world.plan("test", n) for n in range(number)]


def questions(world: World, kinds: dict[str, int], number: int) -> list[tuple[VideoPlan, VideoQuestion]]:
    return [
        (plan, question)
        for n, plan in enumerate(plans(world, number))
        for question in ask(plan, "test", f"{n}.mp4", kinds, np.random.default_rng(n))
    ]


def evidence(plan: VideoPlan, question: VideoQuestion) -> list[Event]:
    return [e for e in plan.events if e.span_s in question.evidence_s]


def test_a_hard_world_is_seeded_and_has_a_folder_of_its_own() -> None:
    assert HARD.plan("train", 3) == HARD.plan("train", 3)
    assert HARD.plan("train", 3) != HARD.plan("test", 3)
    assert world_dir("", World(difficulty=Difficulty())) != world_dir("", World())
    assert world_dir("", World()).name == "19e4461fba73"  # as before there was any difficulty: what was written stays


def test_events_neither_overlap_nor_leave_the_video() -> None:
    for plan in plans(HARD, 60):
        assert plan.events[0].role == "opening"
        assert plan.events[-1].role == "closing"
        assert plan.events[-1].end_s <= plan.duration_s
        assert all(a.end_s <= b.start_s + 1e-6 for a, b in zip(plan.events, plan.events[1:], strict=False))


def test_the_first_event_has_no_fixed_place() -> None:
    first = np.array([plan.events[0].start_s for plan in plans(HARD, 60)])
    assert first.max() > 90
    assert first.std() > 20
    easy = np.array([plan.events[0].start_s for plan in plans(World(), 60)])
    assert easy.max() < 0.06 * 600


def test_look_alikes_stand_within_seconds_and_share_no_name() -> None:
    beside = 0
    for plan in plans(HARD, 60):
        named = Counter((e.kind, e.colour) for e in plan.events if e.kind != "shape")
        assert max(named.values()) == 1, "a question names a sign by kind and colour"
        boxes = [colour for e in plan.events if e.kind == "boxes" for colour in (e.colour, e.label)]
        assert len(boxes) == len(set(boxes))
        for a, b in zip(plan.events, plan.events[1:], strict=False):
            if "sign" in (a.role, b.role) and "look-alike" in (a.role, b.role) and b.start_s - a.end_s < 1.6:
                beside += a.kind == b.kind
    assert beside > 3 * 60  # four signs a video, and only boxes may stay alone
    assert not any(e.role == "look-alike" for e in World().plan("test", 0).events)


def test_between_the_shapes_of_a_triple_there_is_no_other_shape() -> None:
    far = []
    for plan, question in questions(HARD, {"before": 2, "after": 2}, 40):
        shapes = [e for e in plan.events if e.kind == "shape"]
        middle = next(e for e in shapes if e.label in question.question.split()[-1])
        place = shapes.index(middle) + (-1 if " before " in question.question else 1)
        assert shapes[place].colour == question.answer, question
        far.append(abs(shapes[place].start_s - middle.start_s))
    assert np.median(far) > 20


def test_backgrounds_come_again_and_are_cut() -> None:
    times = np.arange(0.5, 600, 12.0)

    def colours(num_scenes: int | None) -> np.ndarray:
        return render(VideoPlan("x", 5, 600.0, (), 12.0, num_scenes), times, 64).astype(float).mean((1, 2))

    def seen_before(colour: np.ndarray) -> float:
        apart = np.abs(colour[:, None] - colour[None]).max(-1)
        return float(np.mean([apart[n, :n].min() < 10 for n in range(20, len(colour))]))

    again = colours(4)
    assert seen_before(again) > 0.9 > 0.7 > seen_before(colours(None))
    assert np.abs(np.diff(again, axis=0)).max(1).min() > 3, "a cut leads to another background"


def test_faint_and_small_events_are_drawn_so() -> None:
    shown = []
    for settings in ({}, {"event_opacity": (0.3, 0.3)}, {"event_size": (0.25, 0.25)}):
        world = World(difficulty=Difficulty(**settings))  # type: ignore[arg-type]
        event = next(e for e in world.plan("test", 0).events if e.label == "square")
        times = np.array([(event.start_s + event.end_s) / 2])
        drawn = render(world.plan("test", 0), times, 64).astype(float)
        bare = render(VideoPlan("", world.plan("test", 0).seed, 600.0, ()), times, 64).astype(float)
        change = np.abs(drawn - bare)[0].max(-1)
        shown.append((change.max(), (change > 3).mean()))
    (strongest, area), (faint, _), (_, small) = shown
    assert faint < 0.4 * strongest
    assert small < 0.4 * area


@pytest.mark.parametrize(("world", "kinds"), [(HARD, KINDS), (ABSENT, NEW_KINDS)])
def test_questions_have_one_right_option_and_nothing_in_the_text_tells_it(world: World, kinds: dict[str, int]) -> None:
    asked = questions(world, kinds, 250)
    assert {q.groups["kind"] for _, q in asked} == set(kinds)
    prior: dict[str, Counter] = {}
    right: dict[str, list[bool]] = {}
    for n, (_, q) in enumerate(asked):
        assert len(q.options) == len(set(q.options)) == 4
        assert q.evidence_s
        kind = str(q.groups["kind"])
        counts = prior.setdefault(kind, Counter())
        if n > len(asked) / 2:  # the commonest answer so far among the options
            right.setdefault(kind, []).append(int(np.argmax([counts[o] for o in q.options])) == q.answer_index)
        counts[q.answer] += 1
    for kind, hits in right.items():
        limit = 0.25 + 3 * np.sqrt(0.25 * 0.75 / len(hits))
        assert np.mean(hits) < limit, (kind, np.mean(hits))


def test_what_never_happens_does_not_happen_and_the_others_do() -> None:
    for plan, question in questions(ABSENT, {"never": 3}, 40):
        happens = {e.label for e in plan.events if e.kind == "shape"}
        assert question.answer not in happens
        assert set(question.options) - {question.answer} == {e.label for e in evidence(plan, question)}
        assert len(set(SHAPES) - happens) == 1
    assert not ask(World().plan("test", 0), "test", "", {"never": 3}, np.random.default_rng(0)), "all nine happen"


def test_how_long_is_the_nearest_of_the_options() -> None:
    for plan, question in questions(ABSENT, {"how_long": 3}, 40):
        (event,) = evidence(plan, question)
        options = np.array([int(o) for o in question.options])
        seconds = event.end_s - event.start_s
        assert options[np.abs(np.log(options / seconds)).argmin()] == int(question.answer)
        assert sorted(np.abs(np.log2(options / seconds)))[1] > 0.6, "a second option is about as near"


def test_the_oracle_sees_a_frame_of_every_evidence_event() -> None:
    """One candidate a second, and no event is shorter than 1.5 s."""
    for plan, question in questions(HARD, KINDS, 12):
        times = torch.arange(600, dtype=torch.float64)
        candidates = Candidates("", torch.arange(600), times, 600.0)
        nothing = torch.zeros(1, 600, 0)
        batch = QuestionBatch(
            [question], [candidates], nothing, torch.ones(1, 600).bool(), times[None].float(), nothing
        )
        chosen = times[oracle_selection(batch, 8)[0, 0]].tolist()
        assert all(any(e.start_s <= t < e.end_s for t in chosen) for e in evidence(plan, question))


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"edges_frac": 0.6}, "edges_frac"),
        ({"near_s": (2.0, 1.0)}, "near_s"),
        ({"event_opacity": (0.5, 1.5)}, "event_opacity"),
        ({"event_size": (0.0, 0.5)}, "event_size"),
        ({"scene_s": 0.0}, "scene_s"),
        ({"num_scenes": 1}, "num_scenes"),
    ],
)
def test_difficulties_check_themselves(settings: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Difficulty(**settings)


def test_a_video_too_short_for_its_look_alikes() -> None:
    World(duration_s=100.0, event_duration_s=(2.0, 2.8))
    World(duration_s=100.0, event_duration_s=(2.0, 2.8), difficulty=Difficulty())
    with pytest.raises(ValueError, match="29 events"):
        World(duration_s=100.0, event_duration_s=(2.0, 2.8), difficulty=Difficulty(look_alikes=True))
