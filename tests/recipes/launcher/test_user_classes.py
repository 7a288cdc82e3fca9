"""Classes of a person's own folder: read by `check`, run by `run`, held against their annotations either way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.launcher.check import check
from recipes.launcher.class_paths import folders_of, passed_through
from recipes.launcher.cli import main
from recipes.launcher.guard import ROOT
from recipes.launcher.mistakes import RecipeError

MINE = """
from __future__ import annotations
from pathlib import Path
Path(__file__).with_name("canary").touch()
from jsonargparse.typing import PositiveInt
from modules.rewards import base
from modules.rewards.accuracy import Accuracy as Right
from modules.rewards.base import Reward
from .shared import Shared

class Brevity(Reward):
    def __init__(self, *, most: int, table: dict[str, float] | None = None, inner: Reward | None = None, odd=None):
        if odd == "boom":
            raise ValueError("the person's own complaint")
    def __call__(self, rollouts):
        raise NotImplementedError

class Derived(Brevity):
    pass

class Ranged(Reward):
    def __init__(self, *, width: PositiveInt = 3, sizes: list[PositiveInt] | None = None, right: Right | None = None):
        ...

class WithNothing(Reward):
    def __init__(self, *, nothing: Nothing): ...

class ByModule(base.Reward):
    pass

class OfAccuracy(Right):
    def __init__(self, *, more: float = 1.0, **kwargs) -> None:
        super().__init__(**kwargs)

class OfShared(Shared):
    pass

class Nothing:
    pass

def function(): pass
"""
SHARED = """
raise SystemExit("imported")
from modules.rewards.base import Reward
class Shared(Reward):
    def __init__(self, width: "int" = 3): pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package = tmp_path / "own"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "mine.py").write_text(MINE)
    (package / "shared.py").write_text(SHARED)
    (package / "ring.py").write_text("class Ring(Ring2): pass\nclass Ring2(Ring): pass\n")
    (package / "broken.py").write_text("class X(:\n")
    (package / "deep.py").write_text("x = " + "(" * 5000)
    (package / "binary.py").write_bytes(bytes(range(256)))
    (package / "endless.py").symlink_to("/dev/zero")
    (tmp_path / "json.py").write_text("class Model: pass\n")
    return tmp_path


def mistakes(folder: Path, reward: str) -> list[str]:
    recipe = str(ROOT / "recipes/tspo.yaml")
    try:
        check(recipe, [], ["--model.rewards.own.reward", reward], folders=folders_of([str(folder)], [recipe]))
        return []
    except RecipeError as error:
        return error.mistakes


@pytest.mark.parametrize(
    "reward",
    [
        "{class_path: own.mine.Brevity, init_args: {most: 3, table: {a: 1.5}}}",
        "{class_path: own.mine.Brevity, init_args: {most: 3, inner: modules.rewards.accuracy.Accuracy}}",
        "{class_path: own.mine.Derived, init_args: {most: 3}}",
        "own.mine.ByModule",
        "{class_path: own.mine.WithNothing, init_args: {nothing: {class_path: own.mine.Nothing}}}",
        "{class_path: own.mine.OfAccuracy, init_args: {more: 2}}",
        "{class_path: own.mine.OfShared, init_args: {width: 2}}",
        "{class_path: own.mine.Ranged, init_args: {right: {class_path: own.mine.OfAccuracy, init_args: {more: 3}}}}",
    ],
)
def test_they_are_read_and_not_imported(reward: str, folder: Path) -> None:
    assert mistakes(folder, reward) == []
    assert not list(folder.rglob("canary"))
    assert not [name for name in sys.modules if name.partition(".")[0] == "own"]


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        ("own.mine.Brevty", "has no class 'Brevty'; did you mean 'Brevity'?"),
        ("own.mine.Brevity", "most: missing; Brevity needs it"),
        ("{class_path: own.mine.Brevity, init_args: {mst: 3, most: 1}}", "mst: no such key; did you mean 'most'?"),
        ("{class_path: own.mine.Brevity, init_args: {most: many}}", "most: 'many' is text where a number is wanted"),
        ("{class_path: own.mine.Brevity, init_args: {most: 1, table: {a: x}}}", "table.a: 'x' is text"),
        ("{class_path: own.mine.Brevity, init_args: {most: 1, inner: os.system}}", "in no known package"),
        ("{class_path: own.mine.Brevity, init_args: {most: 1, inner: own.mine.Nothing}}", "from no class of Kairos"),
        ("{class_path: own.mine.Derived, init_args: {width: 3, most: 1}}", "width: no such key"),
        ("{class_path: own.mine.Ranged, init_args: {width: -1}}", "-1 does not conform to restriction v>0"),
        ("{class_path: own.mine.Ranged, init_args: {sizes: [1, 0]}}", "sizes.1: 0: Not of type PositiveInt"),
        ("{class_path: own.mine.Ranged, init_args: {right: own.mine.Derived}}", "own.mine.Derived is not a Accuracy"),
        ("own.mine.Nothing", "is derived from nothing, and so from no class of Kairos"),
        ("own.ring.Ring", "from no class of Kairos"),
        ("own.mine.function", "has no class 'function'"),
        ("own.broken.X", "cannot be read as Python"),
        ("own.deep.X", "cannot be read as Python"),
        ("own.binary.X", "cannot be read as Python: not text in UTF-8"),
        ("own.endless.X", "is in no known package"),
        ("own.nothing.X", "nor a file of"),
        ("{class_path: json.Model}", "module 'json' of your folder has the name of another"),
    ],
)
def test_their_mistakes_are_told_without_importing_them(reward: str, message: str, folder: Path) -> None:
    assert message in "\n".join(mistakes(folder, reward))
    assert not list(folder.rglob("canary"))


def test_a_reward_in_the_place_of_a_callback(folder: Path) -> None:
    (folder / "recipe.yaml").write_text(
        f"base: {ROOT}/recipes/tspo.yaml\ntrainer: {{callbacks: [own.mine.ByModule]}}\n"
    )
    with pytest.raises(SystemExit, match=r"own.mine.ByModule is not a Callback"):
        main(["check", str(folder / "recipe.yaml")])


def test_an_estimate_runs_none_of_it(folder: Path) -> None:
    reward = "{class_path: own.mine.Brevity, init_args: {most: 3}}"
    words = ["check", str(ROOT / "recipes/tspo.yaml"), "--memory", "--user-dir", str(folder)]
    words += ["--model.rewards.own.reward", reward]
    with pytest.raises(SystemExit, match="is of your own folder"):
        main(words)
    assert not list(folder.rglob("canary"))


def test_folders_are_looked_through_in_order_and_those_of_kairos_are_none_of_a_persons_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("recipes_of_mine", "overlays", "more", "classes"):
        Path(name).mkdir()
    files = ["recipes_of_mine/a.yaml", "overlays/b.yaml", "overlays/c.yaml", "more/d.yaml", "nowhere/e.yaml"]
    files += ["recipes/tspo.yaml", str(ROOT / "recipes/overlays/smoke.yaml")]
    found = folders_of(["classes", "more"], files)
    assert [*map(str, found)] == ["recipes_of_mine", "overlays", "more", "classes"]
    assert folders_of([], ["a.yaml"]) == [Path()]
    assert folders_of(["classes"]) == [Path("classes")]


def test_a_class_beside_an_overlay_is_found_and_the_first_of_a_name_is_taken(folder: Path, tmp_path: Path) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "extra.py").write_text("from modules.rewards.base import Reward\nclass Extra(Reward):\n    pass\n")
    (beside / "overlay.yaml").write_text(
        "model: {init_args: {rewards: {own: {reward: {class_path: extra.Extra}, weight: 0.1}}}}\n"
    )
    words = ["check", str(ROOT / "recipes/tspo.yaml"), "--overlay", str(beside / "overlay.yaml")]
    main(words)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"base: {ROOT}/recipes/tspo.yaml\n")
    (tmp_path / "extra.py").write_text("class Another: pass\n")  # beside the recipe, whose folder comes first
    with pytest.raises(SystemExit, match=rf"{tmp_path}/extra.py has no class 'Extra'"):
        main(["check", str(recipe), *words[2:]])


def test_a_folder_that_is_none_is_named() -> None:
    with pytest.raises(SystemExit, match="--user-dir nowhere: no such folder"):
        main(["check", str(ROOT / "recipes/tspo.yaml"), "--user-dir", "nowhere"])


def test_an_error_of_kairos_is_not_the_persons_where_the_recipe_lies_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def raises():\n    raise ValueError('mine')\n")
    for code, folder, own in (
        ("from datamodules.video.content import content_of as raises\nraises('nowhere')", ROOT, False),
        (f"exec(compile(open('{tmp_path}/own.py').read(), '{tmp_path}/own.py', 'exec'))\nraises()", tmp_path, True),
    ):
        with pytest.raises((OSError, ValueError)) as caught:
            exec(code, {})
        assert passed_through(caught.value.with_traceback(caught.value.__traceback__.tb_next), [folder]) is own


@pytest.mark.slow
def test_run_says_whose_code_it_runs_and_keeps_its_traceback(folder: Path) -> None:
    (folder / "own" / "shared.py").write_text(SHARED.replace("raise SystemExit", "str"))
    (folder / "json.py").unlink()  # `python -m` looks for modules where it is started; `lightning` does not
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"base: {ROOT}/recipes/tspo.yaml\nrun_dir: {folder}/run\n"
        "model: {init_args: {rewards: {own: {reward: {class_path: own.mine.Brevity, "
        "init_args: {most: 1, odd: boom}}}}}}\ntrainer: {logger: false}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "recipes", "run", str(recipe)],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert f"own.mine.Brevity is code of {folder}/own/mine.py, and runs" in done.stderr
    assert "the person's own complaint" in done.stderr
    assert 'mine.py", line' in done.stderr
    assert (folder / "own" / "canary").exists()
