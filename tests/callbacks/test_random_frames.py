"""The number of frames is drawn for every update."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from callbacks.random_frames import RandomFrames
from modules.rl.update_metrics import UpdateMetrics


def drawn(callback: RandomFrames, steps: range) -> list[int]:
    module: Any = SimpleNamespace(rollout_phase=SimpleNamespace(num_frames=0), metrics=UpdateMetrics())
    found = []
    for step in steps:
        trainer: Any = SimpleNamespace(global_step=step)
        numbers = set()
        for batch in range(2):  # of one update
            callback.on_train_batch_start(trainer, module, None, batch)
            numbers.add(module.rollout_phase.num_frames)
        assert len(numbers) == 1
        found += numbers
    return found


def test_each_number_is_as_likely_as_the_others() -> None:
    counts = Counter(drawn(RandomFrames(num_frames=[4, 6, 8]), range(3000)))
    assert counts.keys() == {4, 6, 8}
    assert all(900 < count < 1100 for count in counts.values())


def test_a_resumed_run_draws_what_it_would_have_drawn() -> None:
    whole = drawn(RandomFrames(num_frames=[4, 8], seed=3), range(40))
    assert drawn(RandomFrames(num_frames=[4, 8], seed=3), range(25, 40)) == whole[25:]
    assert drawn(RandomFrames(num_frames=[4, 8], seed=4), range(40)) != whole


def test_nothing_to_draw_from() -> None:
    with pytest.raises(ValueError, match="name at least one number"):
        RandomFrames(num_frames=[])
