"""Checks that Kairos' classes make of their arguments, run without building or importing them."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipes.launcher.check import check
from recipes.launcher.guard import ROOT
from recipes.launcher.mistakes import RecipeError
from recipes.launcher.own_checks import OwnChecks
from recipes.launcher.source import excerpts
from recipes.launcher.source.excerpts import Excerpts, ImportNeededError
from recipes.launcher.source.read_classes import Classes
from recipes.launcher.source.source_modules import Sources


def mistakes(recipe: str, *overrides: str, overlay: str | None = None) -> list[str]:
    try:
        check(str(ROOT / recipe), [str(ROOT / overlay)] if overlay else [], list(overrides), files=False)
    except RecipeError as error:
        return error.mistakes
    return []


@pytest.mark.parametrize(
    ("recipe", "overrides", "message"),
    [
        (
            "recipes/refocus.yaml",
            ["--trainer.callbacks.curriculum.num_frames=[2, 4, 8]", "--trainer.callbacks.curriculum.shares=[1.0]"],
            "trainer.callbacks.curriculum.init_args: shares=[1.0]: one for each of 3 stages, and 1 together",
        ),
        ("recipes/refocus.yaml", ["--trainer.callbacks.curriculum.num_frames", "[]"], "name at least one stage"),
        ("recipes/tspo.yaml", ["--data.selections.path", "x"], "encoder has to be null"),
        ("recipes/tspo.yaml", ["--data.world.event_duration_s", "[3, 2]"], "event_duration_s=[3, 2]: needs 0 < short"),
        ("recipes/data/long_video_qa.yaml", ["--job.pass_rate_range", "[1.0, 0.5]"], "two shares, the first no more"),
        ("recipes/tspo.yaml", ["--model.grpo.num_generations", "1"], "a group needs at least 2 rollouts"),
        ("recipes/tspo.yaml", ["--model.grpo.loss_type", "dppo"], "dppo"),
        (
            "recipes/eval/egomem.yaml",
            ["--model.systems.videolucy.scopes", "[{levels: [{scope_s: 8, fps: 1}, {scope_s: 80, fps: 1}]}]"],
            "scopes of [8, 80] s: name at least one level, and each finer than the one before it",
        ),
        (
            "recipes/eval/egomem.yaml",
            ["--model.systems.videolucy.settings.budget.calls", "0"],
            "a limit is above 0, or null for none",
        ),
    ],
)
def test_what_must_agree(recipe: str, overrides: list[str], message: str) -> None:
    overlay = "recipes/overlays/curriculum.yaml" if "refocus" in recipe else None
    found = mistakes(recipe, *overrides, overlay=overlay)
    assert len(found) == 1, found
    assert message in found[0]


MODULE = """
from __future__ import annotations
import dataclasses, math, torch
from torch import nn
from modules.parsing import LETTERS
LIMIT = math.floor(3.7)
def least(x): return max(x, 0)
def uses_torch(x): return torch.tensor(x) > 3
@dataclasses.dataclass(frozen=True)
class Plain:
    x: int = 0
    y: torch.Tensor | None = None
    def __post_init__(self):
        if self.x > LIMIT or least(self.x) != self.x or str(self.x) in LETTERS:
            raise ValueError(f"x={self.x}: 0 to {LIMIT}")
    def other(self): return torch.zeros(3)
@dataclasses.dataclass(frozen=True)
class WithTorch:
    x: int = 0
    def __post_init__(self):
        if uses_torch(self.x): raise ValueError("too large")
class Layer(nn.Module):
    def __init__(self, *, sizes: list[int], names: list[str] | None = None, inner: nn.Module, top: int = LIMIT):
        super().__init__()
        if names is not None and len(names) != len(sizes):
            raise ValueError(f"{len(names)} names for {len(sizes)} sizes")
        if inner.width > 3:
            raise ValueError("an object is not asked")
        total = sum(sizes)
        if total > 10:
            raise ValueError("what an earlier line made is not known")
        if top > 99:
            raise ValueError(f"top={top}")
"""


@pytest.fixture
def classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Classes:
    """Of a module in a person's folder that is taken for Kairos' own."""
    (tmp_path / "sample.py").write_text(MODULE)
    monkeypatch.setattr(excerpts, "OWN", (*excerpts.OWN, "sample"))
    return Classes(Sources([tmp_path]))


def test_a_settings_class_checks_itself_with_what_its_module_has(classes: Classes) -> None:
    checks, plain = OwnChecks(classes.sources), classes.at("sample.Plain")
    assert checks.of_settings(plain, {"x": 3}) is None
    assert checks.of_settings(plain, {"x": 4}) == "x=4: 0 to 3"
    assert checks.of_settings(plain, {"x": -1}) == "x=-1: 0 to 3"


def test_what_uses_a_library_needs_an_import(classes: Classes) -> None:
    built = Excerpts(classes.sources).value(classes.at("sample.WithTorch").module, "WithTorch")
    with pytest.raises(ImportNeededError, match=r"torch"):
        built(x=1)


def test_a_constructor_refuses_what_it_can_see_in_plain_values(classes: Classes) -> None:
    checks, layer = OwnChecks(classes.sources), classes.at("sample.Layer")
    inner = {"class_path": "torch.nn.Identity"}
    assert checks.of_constructor(layer, {"sizes": [20, 2], "inner": inner}) == []
    assert checks.of_constructor(layer, {"sizes": [1, 2], "names": ["a"], "inner": inner, "top": 100}) == [
        "1 names for 2 sizes",
        "top=100",
    ]
