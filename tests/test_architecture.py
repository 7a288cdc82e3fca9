"""The shape of the project: imports go one way, files stay small, nothing is printed, packages are listed."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from recipes.guard import ROOT

PACKAGES = ("modules", "datamodules", "callbacks", "recipes")
FILES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))

# what a package may import of ours; a longer prefix wins
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "modules.records": ("modules.parsing",),
    "modules.rows": (),
    "modules.row_files": ("modules.rows",),
    "modules.policies": ("modules.records",),
    "modules.grpo": (),
    "modules.statistics": (),
    "modules.evidence": ("modules.records",),
    "modules.ranks": (),
    "modules.frame_demand": ("modules.encoders.base",),
    "modules.seeds": (),
    "modules.paths": (),
    "modules.whole_files": (),
    "modules.model_files": ("modules.paths",),
    "modules.file_names": (),
    "modules.parsing": (),
    "modules.console": (),
    "modules.encoders": ("modules.records", "modules.model_files", "modules.paths", "modules.encoders"),
    "modules.backbones": ("modules.backbones", "modules.model_files", "modules.paths"),
    "modules.samplers": (
        "modules.records",
        "modules.parsing",
        "modules.policies",
        "modules.selections",
        "modules.backbones",
        "modules.model_files",
        "modules.paths",
        "modules.samplers",
    ),
    "modules.mllms": (
        "modules.records",
        "modules.parsing",
        "modules.model_files",
        "modules.paths",
        "modules.encoders",
        "modules.mllms",
    ),
    "modules.rewards": ("modules.records", "modules.parsing", "modules.rewards"),
    "modules.pretraining": (
        "modules.records",
        "modules.encoders",
        "modules.mllms",
        "modules.parsing",
        "modules.pretraining",
    ),
    "modules.scoring": (
        "modules.records",
        "modules.statistics",
        "modules.parsing",
        "modules.scoring",
        "modules.whole_files",
    ),
    "modules.canary": ("modules.records", "modules.mllms"),
    "modules.joint": ("modules.grpo", "modules.mllms"),
    "modules.answering": (
        "modules.records",
        "modules.canary",
        "modules.encoders",
        "modules.mllms",
        "modules.joint",
        "modules.seeds",
    ),
    "modules.query_writing": (
        "modules.records",
        "modules.answering",
        "modules.joint",
        "modules.mllms",
        "modules.seeds",
    ),
    "modules.trajectories": (
        "modules.records",
        "modules.answering",
        "modules.joint",
        "modules.policies",
        "modules.query_writing",
        "modules.samplers",
        "modules.seeds",
    ),
    "modules.rollout_metrics": ("modules.grpo", "modules.parsing", "modules.trajectories"),
    "modules.arms": (
        "modules.records",
        "modules.answering",
        "modules.evidence",
        "modules.parsing",
        "modules.query_writing",
        "modules.samplers",
    ),
    "modules.decoding": (
        "modules.records",
        "modules.answering",
        "modules.mllms",
        "modules.policies",
        "modules.rewards",
        "modules.seeds",
    ),
    "modules.advantages": ("modules.records", "modules.grpo"),
    "modules.finite": (),
    "modules.checkpoint_sums": (),
    "modules.checkpoint_files": ("modules.checkpoint_sums", "modules.finite", "modules.whole_files"),
    "modules.sharded_states": (),
    "modules.sharding": ("modules.checkpoint_files", "modules.sharded_states"),
    "modules.updates": ("modules.sharding",),
    "modules.update_metrics": ("modules.ranks",),
    "modules.policy_update": (
        "modules.grpo",
        "modules.joint",
        "modules.samplers",
        "modules.trajectories",
        "modules.update_metrics",
        "modules.updates",
    ),
    "modules.precision": ("modules.mllms", "modules.sharding"),
    "modules.weights": (
        "modules.checkpoint_files",
        "modules.checkpoint_sums",
        "modules.finite",
        "modules.sharded_states",
    ),
    "modules.evaluation": ("modules",),
    "modules.evolution": ("modules",),
    "modules.selections": ("modules.row_files", "modules.rows"),
    "datamodules": (
        "modules.records",
        "modules.row_files",
        "modules.rows",
        "modules.parsing",
        "modules.ranks",
        "modules.seeds",
        "modules.selections",
        "modules.file_names",
        "modules.frame_demand",
        "modules.encoders.base",
        "modules.encoders.resize",
        "modules.whole_files",
        "datamodules",
    ),
    "callbacks": (
        "modules.console",
        "modules.records",
        "modules.ranks",
        "modules.statistics",
        "modules.scoring",
        "modules.selections",
        "modules.whole_files",
        "callbacks",
    ),
    "recipes": (
        "recipes",
        "modules.console",
        "callbacks.checkpoints",
        "callbacks.interruption",
        "callbacks.mlflow_logger",
        "callbacks.provenance",
        "callbacks.requeue",
        "callbacks.shortfalls",
    ),
    "recipes.cli": ("recipes", "modules.whole_files"),
    "recipes.whole_checkpoints": ("modules.checkpoint_files",),
    "recipes.jobs": ("modules", "datamodules", "recipes.jobs"),
    "recipes.results": (
        "modules.console",
        "modules.records",
        "modules.scoring",
        "modules.selections",
        "datamodules.exports",
        "callbacks.evaluation",
    ),
    "recipes.consolidate": (
        "modules.checkpoint_sums",
        "modules.console",
        "modules.mllms",
        "modules.weights",
        "modules.whole_files",
        "recipes",
    ),
    "recipes.lmms_eval": ("modules", "datamodules", "recipes.checking", "recipes.recipe"),
    "recipes.cost": ("modules.mllms", "modules.model_files", "recipes"),
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in PACKAGES}


def rule(name: str) -> tuple[str, ...]:
    prefixes = [p for p in MAY_IMPORT if name == p or name.startswith(p + ".")]
    return MAY_IMPORT[max(prefixes, key=len)] if prefixes else ()


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    allowed = rule(module_name(path))
    wrong = {i for i in imports(path) if not any(i == a or i.startswith(a + ".") for a in allowed)}
    assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_the_rule_catches_a_wrong_import(tmp_path: Path) -> None:
    assert not any("modules.evolution".startswith(a) for a in rule("callbacks.timeline"))
    bad = tmp_path / "bad.py"
    bad.write_text("from modules.evolution import EvolutionModule\n")
    assert imports(bad) == {"modules.evolution.EvolutionModule"}


def test_files_are_small_and_say_what_they_are_for() -> None:
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 450, path
        if text.strip():
            assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


def test_only_the_command_line_prints() -> None:
    for path in FILES:
        if path.name == "cli.py":
            continue
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        assert not any(isinstance(c.func, ast.Name) and c.func.id == "print" for c in calls), path


def test_strangers_texts_are_printed_as_they_are() -> None:
    for path in FILES:
        assert path.name == "console.py" or "import Console" not in path.read_text(), path


def test_nothing_unpickles() -> None:
    for path in FILES:
        text = path.read_text()
        assert "weights_only=False" not in text, path
        assert "pickle.load" not in text, path


def test_every_package_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    present = {module_name(p) for p in FILES if p.name == "__init__.py"}
    assert set(listed) == present
