"""Recipes made of several files, and callbacks that are changed by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recipes.launcher.guard import ROOT
from recipes.launcher.merge import merge, resolve
from recipes.launcher.mistakes import RecipeError
from recipes.launcher.named_callbacks import by_name, callbacks_of, listed
from recipes.launcher.reading import read_file
from recipes.launcher.recipe_files import with_bases

CURVE = "callbacks.learning_curve.LearningCurve"
TIMELINE = "callbacks.timeline.TimelineImages"
TSPO = str(ROOT / "recipes/tspo.yaml")


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def callbacks(files: list[str], *overrides: str) -> list[dict[str, Any]]:
    return listed(resolve(merge(files, list(overrides)), files[0]))["trainer"]["callbacks"]


def classes(found: list[dict[str, Any]]) -> list[str]:
    return [callback["class_path"].rpartition(".")[2] for callback in found]


def test_later_bases_go_over_earlier_ones_and_the_file_itself_over_all(tmp_path: Path) -> None:
    write(tmp_path, one="vars: {a: 1, b: 1, c: 1}\n", two="vars: {b: 2, c: 2}\n")
    write(tmp_path, own="base: [one.yaml, two.yaml]\nvars: {c: 3}\n")
    assert merge([str(tmp_path / "own.yaml")], []).vars == {"a": 1, "b": 2, "c": 3}


def test_bases_lie_beside_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    write(tmp_path, outer="vars: {a: 1}\n")
    write(tmp_path / "inner", between="base: ../outer.yaml\n")
    write(tmp_path, own="base: inner/between.yaml\n")
    assert merge([str(tmp_path / "own.yaml")], []).vars == {"a": 1}


def test_a_file_that_two_bases_share_is_taken_once_where_it_comes_first(tmp_path: Path) -> None:
    write(tmp_path, shared="vars: {a: 1}\n", one="base: shared.yaml\nvars: {a: 2}\n", two="base: shared.yaml\n")
    write(tmp_path, own="base: [one.yaml, two.yaml]\n")
    assert len(with_bases(str(tmp_path / "own.yaml"))) == 4
    assert merge([str(tmp_path / "own.yaml")], []).vars == {"a": 2}


def test_callbacks_keep_the_order_in_which_they_are_first_named_and_null_leaves_one_out(tmp_path: Path) -> None:
    write(tmp_path, base=f"trainer: {{callbacks: {{late: null, curve: {CURVE}, timeline: {TIMELINE}}}}}\n")
    write(
        tmp_path, own=f"base: base.yaml\ntrainer: {{callbacks: {{timeline: null, late: {{class_path: {TIMELINE}}}}}}}\n"
    )
    assert callbacks([str(tmp_path / "own.yaml")]) == [{"class_path": TIMELINE}, CURVE]


def test_an_entry_without_a_class_changes_the_one_before_it_and_one_with_a_class_replaces_it(tmp_path: Path) -> None:
    changed, anew = "{init_args: {every_n_steps: 7}}", f"{{class_path: {TIMELINE}, init_args: {{run_dir: here}}}}"
    for entry, expected in ((changed, {"run_dir": "outputs/NEW", "every_n_steps": 7}), (anew, {"run_dir": "here"})):
        write(tmp_path, overlay=f"trainer: {{callbacks: {{timeline: {entry}}}}}\n")
        found = callbacks([TSPO, str(tmp_path / "overlay.yaml")])
        assert classes(found) == classes(callbacks([TSPO]))
        assert next(c["init_args"] for c in found if c["class_path"] == TIMELINE) == expected


def test_a_plain_list_replaces_all(tmp_path: Path) -> None:
    write(tmp_path, overlay=f"trainer: {{callbacks: [{CURVE}]}}\n")
    assert callbacks([TSPO, str(tmp_path / "overlay.yaml")]) == [CURVE]


def test_names_find_the_entries_of_a_list_as_a_recorded_recipe_has_it(tmp_path: Path) -> None:
    recorded = [{"class_path": "lightning.pytorch.callbacks.ModelCheckpoint"}, {"class_path": TIMELINE}, CURVE]
    assert list(by_name([*recorded, TIMELINE])) == ["model_checkpoint", "timeline", "learning_curve", "timeline_2"]
    write(tmp_path, old=f"trainer: {{callbacks: {recorded}}}\n")
    found = callbacks([str(tmp_path / "old.yaml")], "--trainer.callbacks.timeline.every_n_steps", "10")
    assert [c.get("init_args") for c in found] == [None, {"every_n_steps": 10}, None]
    found = callbacks([str(tmp_path / "old.yaml"), str(ROOT / "recipes/overlays/curriculum.yaml")])
    assert classes(found) == ["ModelCheckpoint", "TimelineImages", "LearningCurve", "FrameCurriculum"]
    found = callbacks([str(tmp_path / "old.yaml")], "--trainer.callbacks.1.every_n_steps", "10")
    assert found[1]["init_args"] == {"every_n_steps": 10}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--trainer.callbacks.timelin", "null"],
            "there is no callback 'timelin' to leave out; there are update_progress",
        ),
        (["--trainer.callbacks.1.every_n_steps", "10"], "callbacks have names here and no numbers: update_progress"),
    ],
)
def test_names_that_are_not_there(words: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        merge([TSPO], words)


def test_mistakes_name_the_callback() -> None:
    from recipes.launcher.check import check

    words = ["--trainer.callbacks.timeline.every_n_step", "3", "--trainer.callbacks.rollout_tabel.every_n_steps", "3"]
    with pytest.raises(RecipeError) as error:
        check(TSPO, [], words)
    assert error.value.mistakes[0].startswith("trainer.callbacks.timeline.init_args.every_n_step: no such key; did you")
    assert error.value.mistakes[1].startswith("trainer.callbacks.rollout_tabel: no such key; did you mean 'rollout_ta")


def test_no_block_of_a_base_file_stands_in_a_recipe_again() -> None:
    """Neither MLflow nor checkpoints are written out anywhere but in recipes/base."""
    files = [*(ROOT / "recipes").rglob("*.yaml"), *(ROOT / "tests/golden").glob("*.yaml")]
    files += (ROOT / "tests/fuzz").glob("*.yaml")
    for text in ("BufferedMLFlowLogger", "lightning.pytorch.callbacks."):
        found = [p for p in files if text in p.read_text()]
        assert {p.parent for p in found} == {ROOT / "recipes/base"}, found
    lists = [p for p in files if isinstance(callbacks_of(read_file(p)), list)]
    assert lists == []
