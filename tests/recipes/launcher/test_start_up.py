"""What a command imports, which decides how fast it starts; seconds are in tests/benchmarks/start_up.py."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.launcher.guard import ROOT
from recipes.launcher.library_imports import import_torchmetrics
from recipes.launcher.recipe_files import own_recipes

LARGE = ("torch", "transformers", "lightning", "mlflow", "pandas", "torchmetrics", "open_clip", "matplotlib", "sklearn")
OF_CHECK = {*LARGE, "numpy", "pyarrow", "pydantic"}
_COMMAND = """
import contextlib, io, json, sys
from recipes.launcher.cli import main
said = io.StringIO()
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        main(words)
modules = [m for m in sys.modules if "." not in m or m == "scipy.signal"]
json.dump({"said": said.getvalue(), "modules": modules}, sys.stdout)
"""


def after(*commands: list[str], folder: Path = ROOT) -> tuple[set[str], str]:
    """The packages, and `scipy.signal`, that are imported once a process has done those commands, and what it said."""
    words = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{_COMMAND}", json.dumps(commands)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return set(found["modules"]), found["said"]


@pytest.mark.parametrize(
    "words",
    [["ls"], ["--help"], ["run", "--help"], ["check"], ["submit", "--help"], ["chek"], ["recipes/tspo.yaml"]],
    ids=" ".join,
)
def test_texts_need_neither_libraries_nor_the_parser_of_recipes(words: list[str]) -> None:
    modules, said = after(words)
    assert said
    assert not modules & {*OF_CHECK, "omegaconf", "jsonargparse"}


def test_a_recipes_own_keys_are_told_without_libraries() -> None:
    modules, said = after(["run", "recipes/msjoe.yaml", "--help"])
    assert "--model.query_writer.max_queries" in said
    assert not modules & OF_CHECK


def test_no_recipe_of_ours_needs_a_library_to_be_checked() -> None:
    """A check of a settings class that used torch would import its module (`recipes.launcher.own_checks`)."""
    recipes = [str(path) for path in own_recipes() if "overlays" not in path.parts]
    overlays = [str(path) for path in own_recipes() if "overlays" in path.parts]
    commands = [["check", recipe] for recipe in recipes]
    commands += [["check", "recipes/tspo.yaml", "--overlay", overlay] for overlay in overlays]
    modules, said = after(*commands)
    assert said.count("no mistakes found") > 10
    assert not modules & OF_CHECK


@pytest.mark.parametrize(
    "words",
    [
        ["--model.grpo.epsilon", "2.0", "--data.world.size_px", "63", "--model.grpo.loss_type", "dppo"],
        ["--model.learning_rate", "1e-5"],
        ["--trainer.callbacks.timeline.every_n_step", "3", "--trainer.precision", "many"],
        ["--model.mllm.prompt.template", "/etc/passwd"],
    ],
    ids=str,
)
def test_mistakes_are_found_without_libraries(words: list[str]) -> None:
    code = "import sys; sys.argv = ['lightning', 'check', 'recipes/tspo.yaml', *sys.argv[1:]]\n"
    code += "from recipes.launcher.cli import main\ntry:\n    main()\nfinally:\n    print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 1
    assert "mistake" in done.stderr
    assert not set(done.stdout.split()) & OF_CHECK


@pytest.mark.parametrize(
    "words",
    [
        ["score", "answers.jsonl"],
        ["compare", "answers.jsonl", "answers.jsonl"],
        ["export", "chosen.jsonl", "--format", "json", "--out", "o.json"],
    ],
    ids=" ".join,
)
def test_finished_runs_are_scored_without_training(words: list[str], tmp_path: Path) -> None:
    modules, _ = after(words, folder=tmp_path)
    assert not modules & {"lightning", "transformers", "mlflow", "pandas", "torchmetrics", "matplotlib", "sklearn"}


@pytest.mark.slow
def test_asking_does_not_import_mlflow(tmp_path: Path) -> None:
    words = ["run", "recipes/ask.yaml", "--checkpoint", "null", "--video", __file__, "--question", "What?"]
    modules, said = after(words, folder=tmp_path)
    assert {"torch", "lightning", "open_clip", "transformers"} <= modules, said
    assert not modules & {"mlflow", "deepspeed", "trl", "peft", "pandas", "pyarrow", "scipy.signal", "openai"}


def test_torchmetrics_alone_gets_an_empty_module_for_scipys_signal_processing(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "scipy.signal", raising=False)
    offered = {}
    monkeypatch.setattr(
        importlib, "import_module", lambda name: offered.update({name: dir(sys.modules["scipy.signal"])})
    )
    import_torchmetrics()
    assert list(offered) == ["torchmetrics"]
    assert "hamming" in offered["torchmetrics"]
    assert "find_peaks" not in offered["torchmetrics"]
    assert "scipy.signal" not in sys.modules
