"""tau(step) runs linearly from start to end (TSPO: 0.025 to 0.010)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from callbacks.temperature import TemperatureSchedule
from modules.rl.update_metrics import UpdateMetrics


@pytest.mark.parametrize(("step", "tau"), [(0, 0.025), (50, 0.0175), (100, 0.01), (150, 0.01)])
def test_endpoints_and_middle(step: int, tau: float) -> None:
    module = SimpleNamespace(sampler=SimpleNamespace(temperature=1.0), metrics=UpdateMetrics())
    TemperatureSchedule().on_train_batch_start(SimpleNamespace(global_step=step, max_steps=100), module, None, 0)
    assert module.sampler.temperature == pytest.approx(tau)
    assert module.metrics.reduced() == {"policy/temperature": pytest.approx(tau)}
