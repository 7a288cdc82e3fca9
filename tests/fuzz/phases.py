"""Moments of a run at which it can be killed, each named by the call at which it happens."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Moment:
    """The n-th call of a function, in any one process of the run."""

    function: str
    """``module:name`` or ``module:Class.name``."""
    call: int = 1
    after: bool = False
    """Once the function has returned; else in its place."""
    times: int = 1
    """How many starts of the run end there, one after another."""
    halve: bool = False
    """Cut the file that it has written in half, as if it were still at it."""


PHASES = {
    "writing a video": Moment("datamodules.haystack.video_writing:planes", 2),
    "extracting features": Moment("datamodules.video.feature_store:FeatureStore.save", 3),
    "writing a cache entry": Moment("datamodules.video.sealed:save_file", 2, after=True, halve=True),
    "writing what the run is": Moment("callbacks.provenance:Provenance.save_config"),
    "sanity check": Moment("modules.rl.evolution:EvolutionModule.validation_step", 1),
    "rolling out": Moment("modules.rl.evolution:EvolutionModule.score_rewards", 2),
    "between backward and step": Moment("modules.rl.optimizer_step:OptimizerStep.step", 3),
    "after a step": Moment("modules.rl.optimizer_step:OptimizerStep.finish", 4, after=True),
    "after a step, and once more": Moment("modules.rl.optimizer_step:OptimizerStep.finish", 4, after=True, times=2),
    "writing a checkpoint": Moment("torch:save", 2, after=True, halve=True),
    "before a checkpoint's name": Moment("torch:save", 2, after=True),
    "between checkpoint and link": Moment(
        "lightning.pytorch.callbacks.model_checkpoint:ModelCheckpoint._link_checkpoint", 2
    ),
    "while the link is renewed": Moment("os:symlink", 2),
    "validation": Moment("modules.rl.evolution:EvolutionModule.validation_step", 3),
    "after a validation": Moment("modules.rl.evolution:EvolutionModule.on_validation_epoch_end", 2, after=True),
    "test": Moment("modules.rl.evolution:EvolutionModule.test_step", 1),
    "writing the table": Moment("callbacks.evaluation_report:EvaluationReport._write", 1),
    "after the table": Moment("callbacks.evaluation_report:EvaluationReport.on_test_end", 1, after=True),
}


def arm(moment: Moment) -> None:
    """From now on this process, and those forked from it, kill their whole group at that moment."""
    module, _, path = moment.function.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for cls in classes:
        owner = getattr(owner, cls)
    killing = _killing(getattr(owner, name), moment)
    static = isinstance(inspect.getattr_static(owner, name), staticmethod)
    setattr(owner, name, staticmethod(killing) if static else killing)


def _killing(function: Callable[..., Any], moment: Moment) -> Callable[..., Any]:
    calls = 0

    @functools.wraps(function)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != moment.call:
            return function(*arguments, **named)
        if moment.after:
            function(*arguments, **named)
        if moment.halve:
            written = next(Path(a) for a in arguments if isinstance(a, (str, Path)))
            os.truncate(written, written.stat().st_size // 2)
        os.killpg(os.getpgrp(), signal.SIGKILL)
        raise AssertionError("killed")

    return wrapper
