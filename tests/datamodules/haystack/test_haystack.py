"""The Haystack world: seeded, disjoint, answerable only from the right moment, written as real video."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from datamodules.haystack.questions import ask
from datamodules.haystack.render import render
from datamodules.haystack.video_writing import video_path, world_dir, write_videos
from datamodules.haystack.world import QUESTION_KINDS, SIGN_KINDS, World
from datamodules.video.video_info import candidate_grid, probe, read_frames
from modules.records import VideoQuestion

EVERY_KIND = {"needle": 4, "begin": 1, "end": 1, "before": 2, "after": 2, "order": 3, "count": 2, "when": 2}


def questions(num_videos: int, world: World | None = None) -> list[VideoQuestion]:
    world = world or World()
    return [
        q
        for n in range(num_videos)
        for q in ask(world.plan("test", n), "test", f"{n}.mp4", EVERY_KIND, np.random.default_rng(n))
    ]


def test_plans_are_seeded_and_splits_are_disjoint() -> None:
    world = World()
    assert world.plan("train", 3) == world.plan("train", 3)
    assert World(seed=1).plan("train", 3) != world.plan("train", 3)
    plans = {s: {world.plan(s, n).events for n in range(30)} for s in ("train", "val", "test", "stream")}
    assert sum(map(len, plans.values())) == len(set().union(*plans.values()))


def test_events_do_not_overlap_and_fit() -> None:
    for n in range(50):
        plan = World(duration_s=200.0).plan("train", n)
        for a, b in zip(plan.events, plan.events[1:], strict=False):
            assert a.end_s <= b.start_s + 1e-6, (plan.video_id, a, b)
        assert plan.events[0].role == "opening"
        assert plan.events[-1].role == "closing"
        assert plan.events[-1].end_s <= plan.duration_s


def test_every_kind_of_event_happens() -> None:
    kinds = Counter(e.kind for n in range(40) for e in World().plan("train", n).events)
    assert set(kinds) == {"shape", *SIGN_KINDS}


def test_questions_have_one_right_option_and_their_evidence() -> None:
    asked = questions(60)
    assert {q.groups["kind"] for q in asked} == set(EVERY_KIND) == set(QUESTION_KINDS) - {"never", "apart", "how_long"}
    for q in asked:
        assert len(q.options) == len(set(q.options)) == 4
        assert q.answer in q.options
        assert q.evidence_s
        assert all(0 <= s < e <= q.duration_s for s, e in q.evidence_s)


def test_a_distractor_event_shows_a_wrong_option() -> None:
    """Someone who looks at the wrong moment is misled, not merely uninformed."""
    world = World()
    for n in range(20):
        plan = world.plan("test", n)
        for q in ask(plan, "test", "", EVERY_KIND, np.random.default_rng(n)):
            elsewhere = {
                word
                for e in plan.events
                if e.span_s not in q.evidence_s or q.groups["kind"] == "order"
                for word in (e.colour, e.label)
            }
            if q.groups["kind"] not in ("count", "when") and "ball move" not in q.question:
                assert any(o in elsewhere for o in q.options if o != q.answer), q


def test_text_alone_tells_nothing() -> None:
    """The best guess a reader of training questions can make from text and options stays at chance on others."""
    train, held_out = questions(400), []
    for n in range(400, 650):
        held_out += ask(World().plan("test", n), "test", f"{n}.mp4", EVERY_KIND, np.random.default_rng(n))
    prior: dict[str, Counter] = {}
    for q in train:
        for key in (q.question, q.groups["kind"]):
            prior.setdefault(key, Counter())[q.answer] += 1

    def guess(q: VideoQuestion) -> int:
        counts = prior.get(q.question, prior[q.groups["kind"]])
        return int(np.argmax([counts[o] for o in q.options]))

    by_prior = np.array([guess(q) == q.answer_index for q in held_out])
    by_position = np.array([q.answer_index for q in held_out])
    assert abs(by_prior.mean() - 0.25) < 0.03, by_prior.mean()
    assert max(Counter(by_position.tolist()).values()) / len(by_position) < 0.28


def test_what_is_drawn_is_what_was_planned() -> None:
    plan = World().plan("train", 0)
    event = next(e for e in plan.events if e.kind == "shape" and e.label == "square")
    middle = (event.start_s + event.end_s) / 2
    on, off = render(plan, np.array([middle, event.end_s + 60]), 64)
    from datamodules.haystack.render import RGB

    centre = on[int(event.y * 64), int(event.x * 64)].astype(int)
    assert np.abs(centre - RGB[event.colour]).max() < 12
    assert off.shape == (64, 64, 3)


def test_written_videos_are_h264_resumable_and_cached(tmp_path: Path, short_world: World) -> None:
    write_videos(str(tmp_path), short_world, {"train": 2, "test": 1}, num_workers=2)
    path = video_path(str(tmp_path), short_world, "train", 1)
    info = probe(str(path))
    assert info.num_frames == 200
    assert len(candidate_grid(info)) == 100
    frames = np.concatenate(list(read_frames(info, candidate_grid(info))))
    planned = render(short_world.plan("train", 1), np.arange(100.0), 64)
    assert np.abs(frames.astype(int) - planned.astype(int)).mean() < 6
    kept = path.stat().st_mtime_ns
    video_path(str(tmp_path), short_world, "train", 0).unlink()
    write_videos(str(tmp_path), short_world, {"train": 2, "test": 1}, num_workers=2)
    assert path.stat().st_mtime_ns == kept
    assert len(list(world_dir(str(tmp_path), short_world).rglob("*.mp4"))) == 3


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"size_px": 63}, "size_px"),
        ({"duration_s": 30.0}, "too short"),
        ({"event_duration_s": (3.0, 2.0)}, "event_duration_s"),
        ({"sign_kinds": ("glyphs",)}, "sign_kinds"),
        ({"fps": 0.0}, "fps"),
    ],
)
def test_worlds_check_themselves(settings: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        World(**settings)


def test_unknown_kind_of_question() -> None:
    with pytest.raises(ValueError, match="needles"):
        ask(World().plan("test", 0), "test", "", {"needles": 1}, np.random.default_rng(0))
