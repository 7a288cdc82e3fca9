"""Resume is the run's, not the command's: what a command line would change in a run is refused, or allowed and noted.

The recipe of the command line is read as it would be built, with every default, and compared with the one that the run
recorded. Nothing of it is built before the two agree or the person has said that they need not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from recipes.launcher.begun_run import BegunRun, relocated
from recipes.launcher.merge import resolve
from recipes.launcher.recipe_changes import Change, changes_of
from recipes.launcher.runs import last_checkpoint

_log = logging.getLogger(__name__)
_INIT_FROM = "model.init_args.init_from"


@dataclass(frozen=True)
class Continuation:
    """The recipe by which a run goes on."""

    recipe: DictConfig
    changes: list[Change]
    """From the one that it recorded; they are written down once it goes on."""


def continuation(
    typed: DictConfig,
    run: BegunRun,
    complete: Callable[[DictConfig], Mapping[str, Any]],
    *,
    allow_changes: bool = False,
    requeued: bool = False,
) -> Continuation:
    """By which recipe a run goes on.

    Args:
        typed: merged recipe of the command line, or the run's own with what the command line sets.
        run: that goes on.
        complete: adds every default to a recipe, without building anything.
        allow_changes: go on with what the command line changes.
        requeued: SLURM has started the same words again, and nobody is there to be asked: the run's own recipe is
            taken, and the log shows the differences.

    Raises:
        ValueError: the command line would change the run, and may not.
    """
    recorded = run.recorded()
    typed = _at_home(typed, run, recorded)
    if recorded is None:
        _log.warning("%s is missing, so nothing tells whether this recipe is the run's own", run.recipe_file)
        return Continuation(typed, [])
    changes = changes_of(recorded, complete(typed), resolve(typed, "the command line"))
    if changes and requeued:
        _log.warning("%s goes on with its own recipe; what differs is not taken over:%s", run.run_dir, _listed(changes))
        return Continuation(OmegaConf.create(recorded), [])
    _refuse(changes, run, allow_changes)
    return Continuation(typed, changes)


def _at_home(typed: DictConfig, run: BegunRun, recorded: dict[str, Any] | None) -> DictConfig:
    """A recipe with the run's folder as it lies now, and with the checkpoint that ``last:NAME`` was when it began."""
    content: Any = OmegaConf.to_container(typed)
    recipe = OmegaConf.create(relocated(content, run.former_run_dir(), str(run.run_dir)))
    recipe.run_dir = str(run.run_dir)
    known = OmegaConf.select(OmegaConf.create(recorded or {}), _INIT_FROM)
    if known is not None and str(OmegaConf.select(recipe, _INIT_FROM)).startswith("last:"):
        OmegaConf.update(recipe, _INIT_FROM, known)
    return recipe


def _refuse(changes: list[Change], run: BegunRun, allow_changes: bool) -> None:
    """Refuses changes that nobody has allowed, and one that no run can go on with.

    Raises:
        ValueError: says all of them, and how to go on.
    """
    evolve = next((change for change in changes if change.key == "model.evolve"), None)
    if evolve is not None:
        raise ValueError(_of_another_evolution(evolve, run))
    if changes and not allow_changes:
        longer = (
            "\nTo train longer is a change too, for a learning rate may fall until max_steps; it is the one to allow."
            if any(change.key == "trainer.max_steps" for change in changes)
            else ""
        )
        raise ValueError(
            f"{run.run_dir} goes on with its own recipe, and the command line would change it:{_listed(changes)}\n"
            f"`lightning run --resume {run.run_dir}` goes on as it was. With --allow-changes it goes on with these "
            f"values, which are written into its recipe.yaml.{longer}"
        )


def _of_another_evolution(change: Change, run: BegunRun) -> str:
    """Why a run cannot go on with another part trained, and what can."""
    lost = {
        "joint": "its checkpoint has neither the MLLM's weights nor Adam's moments for them, which were never trained",
        "sampler": "its optimizer's state is that of the sampler and the MLLM together, and those of the MLLM would go",
    }
    checkpoint = last_checkpoint(run.run_dir)
    merged = (
        "; `lightning consolidate` writes its MLLM as a folder for --model.mllm.path" if change.new == "sampler" else ""
    )
    return (
        f"{change}: {run.run_dir} cannot go on so, with --allow-changes or without: {lost.get(str(change.new), '')}. "
        "The number of its updates and its places in the schedule of the learning rate and in the order of questions "
        f"cannot be carried over either. `--model.evolve {change.new} --model.init_from {checkpoint}` without "
        f"--resume begins a run that starts from its sampler{merged}."
    )


def _listed(changes: list[Change]) -> str:
    return "".join(f"\n  {change}" for change in changes)
