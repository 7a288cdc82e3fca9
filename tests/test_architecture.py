"""The shape of the project: imports go one way, files stay small, nothing is printed, packages are listed."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from recipes.launcher.guard import ROOT

PACKAGES = ("modules", "datamodules", "callbacks", "recipes")
FILES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))

# what a room may import of ours; a longer prefix wins. Methods never import each other.
_RECORDS = ("modules.records", "modules.parsing", "modules.seeds", "modules.files", "modules.giving_up")
_MODELS = ("modules.encoders", "modules.mllms", "modules.roles")
_PARTS = (*_RECORDS, *_MODELS, "modules.selection", "modules.systems", "modules.rewards")
_TRAINING = (
    *(*_PARTS, "modules.rl", "modules.checkpoints.weights", "modules.distributed.precision"),
    *("modules.checkpoints.checkpoint_files", "modules.distributed.ranks"),
    *("modules.small_stack.schedule", "modules.small_stack.pretraining_data", "modules.small_stack.blank_tokenizer"),
)
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "modules.records": ("modules.parsing",),
    "modules.parsing": (),
    "modules.seeds": (),
    "modules.colours": (),
    "modules.giving_up": (),
    "modules.console": (),
    "modules.part_progress": ("modules.console",),
    "modules.files": ("modules.files",),
    "modules.checkpoints": ("modules.checkpoints", "modules.files", "modules.distributed.sharded_states"),
    "modules.distributed": ("modules.distributed", "modules.checkpoints", "modules.mllms.base"),
    "modules.distributed.ranks": (),
    "modules.selection": (*_RECORDS, "modules.selection"),
    "modules.encoders": (*_RECORDS, "modules.encoders"),
    "modules.mllms": (*_RECORDS, "modules.encoders", "modules.mllms"),
    "modules.roles": (*_RECORDS, *_MODELS),
    "modules.rewards": (*_RECORDS, "modules.mllms", "modules.rewards"),
    "modules.systems": _PARTS,
    "modules.rl": (*_PARTS, "modules.rl", "modules.distributed", "modules.checkpoints"),
    "modules.methods.training_free": (*_PARTS, "modules.methods.training_free"),
    "modules.methods.tspo": (*_TRAINING, "modules.methods.tspo"),
    "modules.methods.kairos": (*_TRAINING, "modules.methods.kairos"),
    "modules.methods.msjoe": (*_TRAINING, "modules.methods.msjoe"),
    "modules.methods.refocus": (*_TRAINING, "modules.methods.refocus"),
    "modules.evaluation": (
        *_PARTS,
        "modules.colours",
        "modules.evaluation",
        "modules.distributed",
        "modules.checkpoints",
    ),
    "modules.small_stack": (*_RECORDS, "modules.encoders", "modules.mllms", "modules.small_stack"),
    "datamodules": (
        "modules.records",
        "modules.files.paths",
        "modules.files.row_files",
        "modules.files.rows",
        "modules.parsing",
        "modules.distributed.ranks",
        "modules.seeds",
        "modules.giving_up",
        "modules.selection.selection_files",
        "modules.selection.selection_row",
        "modules.files.file_names",
        "modules.files.strict_json",
        "modules.part_progress",
        "modules.encoders.frame_demand",
        "modules.encoders.base",
        "modules.encoders.resize",
        "modules.files.whole_files",
        "datamodules",
    ),
    "datamodules.video.thumbnails": (
        "modules.evaluation.report.picture_source",
        "modules.part_progress",
        "datamodules.video",
    ),
    "callbacks": (
        "modules.colours",
        "modules.console",
        "modules.part_progress",
        "modules.records",
        "modules.seeds",
        "modules.distributed.ranks",
        "modules.evaluation",
        "modules.systems.stage_data",
        "modules.selection.even_spacing",
        "modules.selection.selection_files",
        "modules.selection.selection_row",
        "modules.files",
        "modules.systems",
        "callbacks",
    ),
    "recipes": (
        "recipes",
        "modules.console",
        "modules.part_progress",
        "callbacks.checkpoints",
        "callbacks.interruption",
        "callbacks.tracking.mlflow_logger",
        "callbacks.tracking.run_logger",
        "callbacks.provenance",
        "callbacks.recipe_record",
        "callbacks.requeue",
        "callbacks.shortfalls",
    ),
    "recipes.launcher.mistakes": ("modules.files.whole_files",),
    "recipes.launcher.whole_checkpoints": ("modules.checkpoints",),
    "recipes.launcher.from_checkpoint": ("modules.checkpoints", "recipes.launcher"),
    "recipes.jobs": ("modules", "datamodules", "recipes.jobs", "recipes.launcher.runs"),
    "recipes.launcher.results": (
        "modules.console",
        "modules.records",
        "modules.evaluation",
        "modules.selection.selection_files",
        "modules.selection.selection_row",
        "datamodules.questions.exports",
    ),
    "recipes.launcher.report": ("modules.console", "modules.evaluation", "datamodules.video.thumbnails"),
    "recipes.launcher.cache": ("datamodules.video.cached_entries", "datamodules.video.in_use"),
    "recipes.launcher.consolidate": (
        "modules.checkpoints",
        "modules.console",
        "modules.mllms",
        "modules.files.whole_files",
        "recipes",
    ),
    "recipes.launcher.hub_folder": (
        "modules.console",
        "modules.files",
        "modules.selection",
        "recipes.launcher",
    ),
    "recipes.launcher.model_card": (
        "modules.evaluation.statistics",
        "modules.selection.selection_row",
        "recipes.launcher",
    ),
    "recipes.launcher.loaded_systems": ("modules", "datamodules", "recipes.launcher"),
    "recipes.launcher.lmms_eval": ("modules", "datamodules", "recipes.launcher"),
    "recipes.launcher.serve": ("modules.console", "modules.part_progress", "recipes"),
    "recipes.serving": (
        *("modules.records", "modules.parsing", "modules.files", "modules.systems", "modules.selection.selection_row"),
        *("modules.mllms.key_variable", "modules.giving_up", "datamodules.video", "datamodules.annotations.choices"),
        *("recipes.serving", "recipes.launcher.loaded_systems", "recipes.launcher.answering_recipe"),
    ),
    "recipes.launcher.cost": ("modules.mllms", "modules.files.model_files", "recipes"),
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
    """What a module may import; a method that the table does not name has the shared code and its own folder."""
    prefixes = [p for p in MAY_IMPORT if name == p or name.startswith(p + ".")]
    if prefixes:
        return MAY_IMPORT[max(prefixes, key=len)]
    own = ".".join(name.split(".")[:3])
    return (*_TRAINING, own) if own.startswith("modules.methods.") else ()


def test_a_new_method_may_import_shared_code_and_no_other_method() -> None:
    allowed = rule("modules.methods.mine.sampler")
    assert {"modules.selection", "modules.rl", "modules.methods.mine"} <= set(allowed)
    assert not any(a.startswith("modules.methods.") for a in allowed if a != "modules.methods.mine")
    assert rule("modules.unheard_of") == ()


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    allowed = rule(module_name(path))
    wrong = {i for i in imports(path) if not any(i == a or i.startswith(a + ".") for a in allowed)}
    assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_the_rule_catches_a_wrong_import(tmp_path: Path) -> None:
    assert not any("modules.rl.evolution".startswith(a) for a in rule("callbacks.timeline"))
    bad = tmp_path / "bad.py"
    bad.write_text("from modules.rl.evolution import EvolutionModule\n")
    assert imports(bad) == {"modules.rl.evolution.EvolutionModule"}


def test_methods_do_not_import_each_other() -> None:
    """A method is one folder that can be taken out."""
    for path in sorted((ROOT / "modules/methods").rglob("*.py")):
        own = ".".join(module_name(path).split(".")[:3])
        foreign = {i for i in imports(path) if i.startswith("modules.methods.") and not f"{i}.".startswith(f"{own}.")}
        assert not foreign, f"{path.relative_to(ROOT)} of {own} imports {sorted(foreign)}"


def test_no_two_files_have_one_name() -> None:
    """So that a file's name says which one is meant; `base.py` is what its folder's classes derive from."""
    rooms = [ROOT / room for room in ("modules", "datamodules", "callbacks", "recipes/jobs")]
    paths: dict[str, list[str]] = {}
    for path in (p for room in rooms for p in sorted(room.rglob("*.py"))):
        paths.setdefault(path.name, []).append(str(path.relative_to(ROOT)))
    twice = [where for name, where in paths.items() if len(where) > 1 and name not in ("__init__.py", "base.py")]
    assert not twice, f"files of one name: {twice}"


def test_files_are_small_and_say_what_they_are_for() -> None:
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 450, path
        if text.strip():
            assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


def test_constructors_are_small() -> None:
    """What takes more arguments does several jobs, or has settings that belong together."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                taken = len(node.args.args) + len(node.args.kwonlyargs) - 1
                assert taken <= 13, f"{path.relative_to(ROOT)}: a constructor takes {taken} arguments"


def test_docstrings_begin_with_a_sentence_and_code_is_formatted_throughout() -> None:
    for path in FILES:
        text = path.read_text()
        assert "fmt: skip" not in text, path
        assert '"""Args:' not in text, path


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
