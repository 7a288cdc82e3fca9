"""Trains a recipe for two steps on the CPU and writes what the process holds, phase by phase, in bytes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml


def resident(what: str) -> int:
    """``VmRSS`` now, or its peak ``VmHWM``."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def watch(module: Any, found: dict[str, int]) -> None:
    """Notes the peaks of the rollouts, of the loss and of the step; later ones replace earlier ones."""
    import torch

    from modules.rl.reward_sum import Rewards

    optimizer_step = module.policy_update.optimizer_step
    roll_out, update, step = module.roll_out, module.policy_update.run, optimizer_step.step

    def rolled(batch: Any) -> Any:
        found["held"] = resident("VmRSS")
        reset_peak()
        trajectories = roll_out(batch)
        found["rollouts"] = resident("VmHWM")
        ids = trajectories.completions[0].generation.token_ids
        row = trajectories.completions[0].rows[0]
        found["length"] = module.mllm.inputs([row])["input_ids"].shape[1]
        found["said"] = max(map(len, ids))
        return trajectories

    def updated(*words: Any, **keys: Any) -> Any:
        reset_peak()
        return update(*words, **keys)

    def stepped(*words: Any, **keys: Any) -> Any:
        found["loss"] = resident("VmHWM")
        reset_peak()
        norms = step(*words, **keys)
        found["step"] = resident("VmHWM")
        return norms

    def scored(rollouts: Any) -> Any:  # no two answers of a question alike: none is left out of the loss
        rewards = torch.arange(rollouts.selection.candidate_index.shape[1]).float().expand(len(rollouts.batch), -1)
        return Rewards({"different": rewards}, rewards, rewards)

    module.roll_out, module.policy_update.run, optimizer_step.step = rolled, updated, stepped
    module.score_rewards = scored


def main(recipe_file: Path) -> None:
    import lightning as L
    import torch

    from recipes.launcher.launch import RecipeCLI

    torch.set_num_threads(1)
    found: dict[str, int] = {}

    class Watch(L.Callback):
        def on_fit_start(self, trainer: Any, module: Any) -> None:
            found["extract"] = resident("VmHWM")
            watch(module, found)

    cli = RecipeCLI(yaml.safe_load(recipe_file.read_text()))
    cli.trainer.callbacks.append(Watch())
    for part in (cli.model, cli.datamodule.encoder):  # weights are mapped from files, and resident once they were read
        for parameter in part.parameters():
            parameter.sum()
    reset_peak()
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    rank = os.environ.get("LOCAL_RANK", "0")
    recipe_file.with_name(f"memory_{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
