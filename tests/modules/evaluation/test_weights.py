"""Several trained samplers in one comparison: each system has the numbers of its own checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from trained_runs import built, trained_run

from modules.checkpoints.checkpoint_files import read
from modules.evaluation.evaluation_module import EvaluationModule
from recipes.launcher.check import check
from recipes.launcher.guard import ROOT
from recipes.launcher.merge import resolve
from recipes.launcher.runs import resolve_checkpoint

COMPARISON, OVERLAY = str(ROOT / "recipes/comparison.yaml"), str(ROOT / "recipes/overlays/samplers.yaml")


def comparison(runs: dict[str, Path | None]) -> Any:
    """An evaluation module with these runs' samplers."""
    words = [w for name, run in runs.items() for w in (f"--model.weights.{name}", "null" if run is None else str(run))]
    recipe = resolve(check(COMPARISON, [OVERLAY], words), COMPARISON)["model"]
    weights = recipe["init_args"]["weights"]
    recipe["init_args"]["weights"] = {n: str(resolve_checkpoint(w)) for n, w in weights.items() if w is not None}
    return built(EvaluationModule, recipe)


@pytest.fixture(autouse=True)
def _in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_each_system_has_its_own_weights(tmp_path: Path) -> None:
    runs = {kind: trained_run(tmp_path / kind, kind) for kind in ("tspo", "unet", "kairos")}
    model = comparison({**runs, "refocus": None})
    for kind, run in runs.items():
        saved = read(run / "checkpoints/last.ckpt")["state_dict"]
        sampler = model.named_systems()[kind].sampler
        own = dict(sampler.named_parameters())
        assert {f"sampler.{name}" for name in own} == set(saved)
        for name, parameter in own.items():
            assert torch.equal(parameter, saved[f"sampler.{name}"]), name
        assert model.named_systems().get(f"{kind}_dpp").sampler is sampler
    assert set(model.describe()["weights"]) == set(runs)


def test_a_run_that_trained_its_mllm_is_refused(tmp_path: Path) -> None:
    joint = trained_run(tmp_path / "msjoe", "msjoe")
    with pytest.raises(ValueError, match=r"has trained its MLLM too.*--checkpoint"):
        comparison({"tspo": joint, "unet": joint, "refocus": None, "kairos": joint})
