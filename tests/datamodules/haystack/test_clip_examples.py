"""Short videos of clips: what a question needs is among them, in order, and nothing else decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datamodules.haystack.clip_examples import ClipPhase, ClipQuestions, cast, events_at
from datamodules.haystack.examples import event_of, phase_at
from datamodules.haystack.pool import FramePool
from datamodules.haystack.world import World

KINDS = {"needle": 1.0, "before": 1.0, "order": 1.0, "count": 1.0}


def phase(num_clips: int, captions_frac: float = 0.0, num_batches: int = 1) -> ClipPhase:
    clips = (num_clips, num_clips)
    return ClipPhase(num_batches=num_batches, num_examples=6, num_clips=clips, captions_frac=captions_frac, kinds=KINDS)


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> FramePool:
    made = FramePool(
        world=World(seed=5, size_px=32), num_videos=400, cache_dir=str(tmp_path_factory.mktemp("pool")), num_workers=1
    )
    made.build()
    return made


def test_phases_come_one_after_another() -> None:
    phases = [phase(1, num_batches=2), phase(2, num_batches=1)]
    assert [phase_at(phases, n).num_clips[0] for n in range(5)] == [1, 1, 2, 2, 2]


@pytest.mark.parametrize("num_clips", [1, 4])
def test_the_clips_hold_the_evidence(pool: FramePool, num_clips: int) -> None:
    batch = ClipQuestions(phases=[phase(num_clips)]).batch(pool, np.random.default_rng(0), 64, 0)
    assert batch["index"].shape == (6, num_clips, 16)
    assert (batch["start_s"].diff(dim=1) >= 16 - 1e-6).all()  # in order, none twice
    for question, answer, index, start_s in zip(
        batch["questions"], batch["answers"], batch["index"].numpy(), batch["start_s"].numpy(), strict=True
    ):
        assert answer == question.answer
        times_s = start_s[:, None] + 0.5 + np.arange(16)
        for start, end in question.evidence_s:
            inside = (times_s >= start) & (times_s < end)
            assert inside.any(), "an event of the answer is in none of the clips"
            shown = {event_of(pool, int(i)) for i in index[inside]}
            assert None not in shown
            assert len({(e.kind, e.colour, e.label) for e in shown if e is not None}) == 1


def test_evidence_that_has_passed_is_in_none_of_the_last_clips_frames(pool: FramePool) -> None:
    passed = replace(phase(3), passed_frac=1.0, num_examples=32)
    batch = ClipQuestions(phases=[passed]).batch(pool, np.random.default_rng(0), 64, 0)
    for question, start_s in zip(batch["questions"], batch["start_s"].numpy(), strict=True):
        times_s = start_s[:, None] + 0.5 + np.arange(16)
        seen = np.stack([(times_s >= start) & (times_s < end) for start, end in question.evidence_s])
        assert seen.any((1, 2)).all()
        assert not seen[:, -1].any()


def test_captions_say_what_is_shown_in_order(pool: FramePool) -> None:
    batch = ClipQuestions(phases=[phase(2, captions_frac=1.0)]).batch(pool, np.random.default_rng(1), 64, 0)
    for answer, index in zip(batch["answers"], batch["index"].numpy(), strict=True):
        events = [event_of(pool, int(i)) for i in index.flatten()]
        labels = [e.label for e in events if e is not None]
        words = answer.split()
        position = -1
        for label in dict.fromkeys(labels):
            if label in words:
                assert words.index(label) > position or words.count(label) > 1
                position = words.index(label)


def test_a_plan_is_played_by_what_shows_the_same(pool: FramePool) -> None:
    plan = pool.world.plan("stream", 10**7)
    times_s = np.arange(0.5, plan.duration_s)
    events = events_at(plan, times_s)
    index, shown = cast(pool, plan, times_s, events, np.random.default_rng(2))
    assert shown == sorted(shown)
    for e, frame in zip(events, index, strict=True):
        event = event_of(pool, int(frame))
        if e < 0:
            assert event is None
        else:
            wanted = plan.events[e]
            assert event is not None
            assert (event.kind, event.colour, event.label) == (wanted.kind, wanted.colour, wanted.label)


def test_the_same_seed_gives_the_same_examples(pool: FramePool, tmp_path: Path) -> None:
    examples = ClipQuestions(phases=[phase(3)])
    first, second = (examples.batch(pool, np.random.default_rng(3), 64, 0) for _ in range(2))
    assert first["answers"] == second["answers"]
    assert (first["index"] == second["index"]).all()
