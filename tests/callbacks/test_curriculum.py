"""The number of frames grows by stages: by shares of the updates, or when the reward stops growing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from callbacks.curriculum import FrameCurriculum
from modules.rl.update_metrics import UpdateMetrics


class Training:
    """A trainer and a module as far as the callback looks at them."""

    def __init__(self, max_steps: int) -> None:
        self.trainer = SimpleNamespace(
            global_step=0, max_steps=max_steps, strategy=SimpleNamespace(reduce=lambda value: value)
        )
        self.module: Any = SimpleNamespace(rollout_phase=SimpleNamespace(num_frames=0), metrics=UpdateMetrics())

    def step(self, callback: FrameCurriculum, reward: float = 0.0) -> int:
        """One update; how many frames it drew."""
        callback.on_train_batch_start(self.trainer, self.module, None, self.trainer.global_step)
        outputs = {"reward": torch.tensor([[reward, reward], [reward, torch.nan]])}
        self.trainer.global_step += 1
        callback.on_train_batch_end(self.trainer, self.module, outputs, None, self.trainer.global_step)
        return self.module.rollout_phase.num_frames


def test_stages_share_the_updates() -> None:
    training, callback = Training(8), FrameCurriculum(num_frames=[4, 8, 16, 32])
    assert [training.step(callback) for _ in range(9)] == [4, 4, 8, 8, 16, 16, 32, 32, 32]
    training, callback = Training(10), FrameCurriculum(num_frames=[4, 8], shares=[0.3, 0.7])
    assert [training.step(callback) for _ in range(10)] == [4] * 3 + [8] * 7


def test_a_plateau_ends_a_stage_and_the_last_one_stays() -> None:
    training, callback = Training(-1), FrameCurriculum(num_frames=[1, 2, 4], patience=2, min_gain=0.05)
    rewards = [0.0, 0.1, 0.2, 0.3, 0.25, 0.25, 0.1, 0.1, 0.1, 0.1, 0.0, 0.0, 0.0]
    # means of two: .05, .25, .25 (no gain), then from anew: .1, .1 (no gain), and no stage is left
    assert [training.step(callback, r) for r in rewards] == [1] * 6 + [2] * 4 + [4] * 3


def test_a_resumed_run_is_in_the_same_stage() -> None:
    rewards = [0.0, 0.1, 0.0, 0.0, 0.3, 0.3, 0.3, 0.3]
    whole, callback = Training(-1), FrameCurriculum(num_frames=[1, 2, 4], patience=2)
    expected = [whole.step(callback, r) for r in rewards]
    first, before = Training(-1), FrameCurriculum(num_frames=[1, 2, 4], patience=2)
    found = [first.step(before, r) for r in rewards[:3]]
    after = FrameCurriculum(num_frames=[1, 2, 4], patience=2)
    after.load_state_dict(before.state_dict())
    assert found + [first.step(after, r) for r in rewards[3:]] == expected


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="at least one stage"):
        FrameCurriculum(num_frames=[])
    with pytest.raises(ValueError, match="give one of them"):
        FrameCurriculum(num_frames=[4, 8], shares=[0.5, 0.5], patience=3)
    for shares in ([1.0], [0.5, 0.6]):
        with pytest.raises(ValueError, match="1 together"):
            FrameCurriculum(num_frames=[4, 8], shares=shares)
    with pytest.raises(ValueError, match="max_steps"):
        FrameCurriculum(num_frames=[4, 8]).setup(SimpleNamespace(max_steps=-1), None, "fit")
