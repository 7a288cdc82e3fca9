"""More shapes and wordings: what worlds without them were, what the new ones look like, and what training never has."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml

from datamodules.haystack.datamodule import HaystackData
from datamodules.haystack.examples import FrameQuestions, FrameTexts, Phase, fits, times_of
from datamodules.haystack.pool import FramePool
from datamodules.haystack.questions import ask
from datamodules.haystack.render import render
from datamodules.haystack.video_writing import world_dir
from datamodules.haystack.wordings import PATTERNS, SIGN_WORDS
from datamodules.haystack.world import ALL_SHAPES, MORE_SHAPES, SHAPES, Event, VideoPlan, World
from datamodules.haystack.world_difficulty import Difficulty
from recipes.launcher.guard import ROOT

WIDE = World(shapes=ALL_SHAPES, sign_kinds=("glyph", "dots", "boxes"))
KINDS = {"needle": 4, "begin": 1, "end": 1, "before": 2, "after": 2, "order": 2, "count": 2, "when": 2, "never": 2}


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


@pytest.mark.parametrize(
    ("world", "folder", "planned"),
    [
        (World(), "19e4461fba73", "be519b5a85220b21"),
        (
            World(gap_s=(15.0, 45.0), difficulty=Difficulty(look_alikes=True, edges_frac=0.15)),
            "027f6777c969",
            "88c2adfd67b0a028",
        ),
    ],
)
def test_a_world_that_names_no_shapes_is_what_it_was(world: World, folder: str, planned: str) -> None:
    """Recorded before worlds had shapes of their own and questions several wordings."""
    known = []
    for split in ("train", "test", "stream"):
        for n in range(5):
            plan = world.plan(split, n)
            known += [(e.kind, e.colour, e.label, e.role, round(float(e.start_s), 4)) for e in plan.events]
            known += [(q.question, q.options) for q in ask(plan, split, "", KINDS, np.random.default_rng(n))]
    assert hashlib.sha256(repr(known).encode()).hexdigest()[:16] == planned
    assert world_dir("", world).name == folder


@pytest.mark.parametrize("width_px", [22, 38])
def test_shapes_differ_in_pixels(width_px: int) -> None:
    """Wherever one is laid over another, at least a fifth of what either covers is not covered by both."""

    def drawn(shape: str) -> np.ndarray:
        event = Event("shape", "white", shape, 1.0, 3.0, "", 0.5, 0.5, width_px / 64 + 1e-6)
        on, off = (
            render(VideoPlan("", 0, 9.0, events), np.array([2.0]), 64)[0].astype(int) for events in ((event,), ())
        )
        return (np.abs(on - off).max(-1) > 60).astype(float)

    masks = {shape: drawn(shape) for shape in ALL_SHAPES}
    for one, other in combinations(ALL_SHAPES, 2):
        shifted = (np.roll(masks[other], (y, x), (0, 1)) for y in range(-4, 5) for x in range(-4, 5))
        most = max(np.minimum(masks[one], s).sum() / np.maximum(masks[one], s).sum() for s in shifted)
        assert most < 0.8, (one, other, most)


def test_a_world_has_the_shapes_that_it_names_and_a_test_split_may_have_others() -> None:
    world = World(shapes=SHAPES[:3] + MORE_SHAPES, test_shapes=ALL_SHAPES)
    seen = {
        split: {e.label for n in range(40) for e in world.plan(split, n).events if e.kind == "shape"}
        for split in ("train", "val", "test")
    }
    assert seen["train"] == seen["val"] == {*SHAPES[:3], *MORE_SHAPES}
    assert seen["test"] == set(ALL_SHAPES)
    assert all(len({e.label for e in world.plan("test", n).events if e.kind == "shape"}) == 9 for n in range(20))


@pytest.mark.parametrize("shapes", [SHAPES[:8], (*SHAPES, "blob"), (*SHAPES[:8], SHAPES[0])])
def test_shapes_of_a_world_are_checked(shapes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="test_shapes: needs 9 or more"):
        World(test_shapes=shapes)


def test_what_never_happens_is_a_shape_of_the_world() -> None:
    for n in range(30):
        plan = WIDE.plan("test", n)
        for question in ask(plan, "test", "", {"never": 2}, np.random.default_rng(n)):
            happens = {e.label for e in plan.events if e.kind == "shape"}
            assert question.answer in set(ALL_SHAPES) - happens
            assert set(question.options) - {question.answer} <= happens
            assert len(question.evidence_s) == 3


def test_when_is_the_quarter_in_which_the_evidence_lies() -> None:
    for n in range(30):
        for question in ask(WIDE.plan("test", n), "test", "", {"when": 2}, np.random.default_rng(n), "all"):
            ((start_s, end_s),) = question.evidence_s
            assert question.answer == str(int(4 * start_s / 600) + 1) == str(int(4 * end_s / 600) + 1)


def test_apart_is_the_nearest_number_of_eighths_between_two_things_that_are_named() -> None:
    asked, card = Counter(), 0
    for n in range(200):
        plan = WIDE.plan("test", n)
        for question in ask(plan, "test", "", {"apart": 1}, np.random.default_rng(n), "all"):
            one, other = (next(e for e in plan.events if e.span_s == span) for span in question.evidence_s)
            eighths = (other.end_s + other.start_s - one.end_s - one.start_s) * 4 / plan.duration_s
            assert abs(eighths - int(question.answer)) < 1 / 3
            assert sorted(question.options) == ["1", "2", "3", "4"]
            told = words(question.question)
            fitting = [e for e in plan.events if fits(question.question, e)]
            assert fitting == [one, other], "the text fits its evidence alone"
            card += bool(told & {"letter", "dots"})
            asked[question.answer] += 1
    assert 20 < card < 180, "two shapes, or a shape and a card"
    assert max(asked.values()) / asked.total() < 0.25 + 3 * np.sqrt(0.25 * 0.75 / asked.total())


@pytest.mark.parametrize("wordings", ["varied", "held_out", "all"])
def test_a_wording_changes_nothing_but_the_text(wordings: str) -> None:
    num_reworded, kinds = 0, KINDS | {"apart": 2}
    for n in range(30):
        plan = WIDE.plan("test", n)
        plain = ask(plan, "test", "", kinds, np.random.default_rng(n))
        worded = ask(plan, "test", "", kinds, np.random.default_rng(n), wordings)  # type: ignore[arg-type]
        for one, other in zip(plain, worded, strict=True):
            assert (one.options, one.answer, one.evidence_s) == (other.options, other.answer, other.evidence_s)
            named = words(one.question) & {*ALL_SHAPES, "red", "blue"}
            assert named <= words(other.question)
            num_reworded += one.question != other.question
    assert num_reworded > 200


def test_held_out_wordings_have_a_word_of_their_own() -> None:
    varied = {word for p in PATTERNS.values() for text in p.of("varied") for word in words(text)}
    for name, pattern in PATTERNS.items():
        assert all(words(text) - varied for text in pattern.held_out), name
        assert all(text.endswith("?") for text in pattern.of("all"))
        if name in SIGN_WORDS:
            assert all(words(text) & set(SIGN_WORDS[name]) for text in pattern.of("all"))


def test_the_wide_world_tests_what_its_training_split_never_had() -> None:
    overlay = yaml.safe_load((ROOT / "recipes/overlays/worlds/wide.yaml").read_text())["data"]["init_args"]
    difficulty = Difficulty(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in overlay["world"]["difficulty"].items()}
    )
    named = {k: tuple(v) if isinstance(v, list) else v for k, v in overlay["world"].items()}
    data = HaystackData(
        world=World(**{**named, "difficulty": difficulty}),
        num_train_videos=60,
        num_test_videos=60,
        questions_per_video=overlay["questions_per_video"],
        wordings=overlay["wordings"],
        test_wordings=overlay["test_wordings"],
    )
    train, test = ({w for q in data.load_questions(split) for w in words(q.question)} for split in ("train", "test"))
    assert {"hue", "earliest", "preceding", "following", "occasions", "absent", "distance"} <= test - train
    assert len((test - train) & set(ALL_SHAPES)) == 6


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> FramePool:
    world = World(duration_s=300.0, shapes=ALL_SHAPES, sign_kinds=("glyph", "dots", "boxes"), size_px=32)
    pool = FramePool(world=world, num_videos=400, cache_dir=str(tmp_path_factory.mktemp("pool")), num_workers=2)
    pool.build()
    return pool


@pytest.mark.long
def test_lessons_of_the_wide_stack_say_when_frames_were_taken(pool: FramePool) -> None:
    phase = Phase(num_batches=1, captions_frac=0.0, evidence_frac=1.0, num_frames=(6, 6), kinds={"when": 1.0})
    batch = FrameQuestions(phases=[phase], wide=True).batch(pool, np.random.default_rng(0), 24, 0)
    assert (batch["times_s"].diff(dim=1) >= 0).all()
    for question, times in zip(batch["questions"], batch["times_s"], strict=True):
        ((start_s, end_s),) = question.evidence_s
        assert ((times >= start_s) & (times <= end_s)).any(), "the frame of the evidence has a time inside of it"
    plain = FrameQuestions(phases=[phase]).batch(pool, np.random.default_rng(0), 4, 0)
    assert "times_s" not in plain


def test_times_lie_in_their_events_and_between_them() -> None:
    plan = WIDE.plan("stream", 0)
    events = np.array([-1, 2, 2, -1, 5, -1])
    for seed in range(500):
        times = times_of(plan, events, np.random.default_rng(seed))
        assert (np.diff(times) >= 0).all()
        assert all(
            plan.events[e].start_s <= t <= plan.events[e].end_s for e, t in zip(events, times, strict=True) if e >= 0
        )
        assert times[0] <= plan.events[2].start_s
        assert plan.events[2].end_s <= times[3] <= plan.events[5].start_s
        assert plan.events[5].end_s <= times[5] <= plan.duration_s


@pytest.mark.long
def test_texts_of_one_meaning_fit_the_same_frames(pool: FramePool) -> None:
    batch = FrameTexts(wide=True).batch(pool, np.random.default_rng(0), 200, 0)
    meanings, matches = batch["meanings"], batch["matches"]
    assert matches.any(1).all()
    assert len(set(meanings.tolist())) < len(meanings), "some texts differ in their wording alone"
    for one, other in combinations(range(len(meanings)), 2):
        if meanings[one] == meanings[other]:
            assert (matches[one] == matches[other]).all(), (batch["texts"][one], batch["texts"][other])
    plain = FrameTexts().batch(pool, np.random.default_rng(0), 200, 0)
    assert len(set(plain["meanings"].tolist())) == len(plain["texts"])


def test_every_word_of_the_wide_stack_is_one_token(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from modules.small_stack.blank import write_blank_vlm

    write_blank_vlm(tmp_path, FrameTexts(wide=True).sentences(), vocab_size=1024)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    vocabulary = {word for p in PATTERNS.values() for text in p.of("all") for word in words(text)} - {
        "a",
        "b",
        "c",
        "d",
    }
    for word in {*vocabulary, *ALL_SHAPES, *map(str, range(101))}:
        assert len(tokenizer(word)["input_ids"]) == 1, word
