"""The schedule of a learning rate by hand, and settings that cannot be."""

from __future__ import annotations

import pytest

from modules.rl.optimization import Optimization
from modules.systems.answering_settings import AnsweringSettings


def test_a_linear_schedule_by_hand() -> None:
    share = Optimization(warmup_steps=2).schedule(6)
    assert [share(step) for step in range(7)] == [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]


def test_a_frozen_group_begins_its_own_schedule_later() -> None:
    share = Optimization(warmup_steps=2).schedule(6, warmup_steps=0, freeze_steps=2)
    assert [share(step) for step in range(7)] == [0.0, 0.0, 1.0, 0.75, 0.5, 0.25, 0.0]


def test_a_schedule_without_end() -> None:
    assert Optimization(lr_scheduler_type="constant").schedule(None)(10**6) == 1.0
    with pytest.raises(ValueError, match=r"'linear' needs trainer\.max_steps"):
        Optimization().schedule(None)


@pytest.mark.parametrize("name", ["learning_rate", "max_grad_norm", "accumulate", "max_nonfinite_steps"])
def test_settings_check_themselves(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0"):
        Optimization(**{name: 0})
    with pytest.raises(ValueError, match="warmup_steps=-1: 0 or more"):
        Optimization(warmup_steps=-1)
    with pytest.raises(ValueError, match="rows_per_forward=0: at least 1"):
        AnsweringSettings(rows_per_forward=0)
