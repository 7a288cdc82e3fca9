"""A run goes on with its own recipe: what the command line would change is shown, refused, or allowed and noted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from callbacks.recipe_record import Recording, record
from recipes.launcher.begun_run import BegunRun, find_begun, start
from recipes.launcher.cli import main
from recipes.launcher.command_line import FLAGS, build_parser, with_values
from recipes.launcher.guard import ROOT
from recipes.launcher.merge import merge
from recipes.launcher.parent import STARTED_IN_VARIABLE, begin_with_parent
from recipes.launcher.recipe_changes import changes_of
from recipes.launcher.resume import continuation
from recipes.launcher.runs import RUN_DIR_VARIABLE

TSPO = [str(ROOT / "recipes/tspo.yaml"), str(ROOT / "recipes/overlays/smoke.yaml")]


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch) -> Path:
    """A run of two updates that has a recorded recipe, and something where its checkpoint should be."""
    from recipes.launcher.launch import complete

    monkeypatch.chdir(tmp_path)
    for name in (RUN_DIR_VARIABLE, STARTED_IN_VARIABLE):
        monkeypatch.setenv(name, "")  # so that whatever is set here is taken back
        monkeypatch.delenv(name)
    folder = Path("outputs/tspo/20261121-120000")
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/last.ckpt").write_bytes(b"no checkpoint")
    recipe = merge(TSPO, ["--run_dir", str(folder)])
    (folder / "recipe.yaml").write_text(yaml.safe_dump(complete(recipe)))
    (folder / "environment.json").write_text(json.dumps({"working_folder": str(tmp_path)}))
    return folder


def refused(*words: str) -> str:
    with pytest.raises(SystemExit) as error:
        main(["run", *words])
    return str(error.value)


def test_another_recipe_is_shown_key_by_key_and_refused(run_dir: Path) -> None:
    before = (run_dir / "recipe.yaml").read_text()
    said = refused(TSPO[0], "--model.optimizer.learning_rate", "1e-3", "--resume", "last")
    for line in (
        "trainer.max_steps: 2 -> 300",
        "model.optimizer.learning_rate: 0.002 -> 0.001",
        "data.world.duration_s: 100.0 -> 600.0",
        "model.grpo.num_generations: 4 -> 32",
        f"`lightning run --resume {run_dir}` goes on as it was. With --allow-changes",
    ):
        assert line in said
    assert "mllm" not in said
    assert (run_dir / "recipe.yaml").read_text() == before


def test_a_value_for_a_run_without_a_recipe_is_refused_before_its_checkpoint_is_read(run_dir: Path) -> None:
    said = refused("--resume", str(run_dir), "--trainer.max_steps", "600")
    assert "\n  trainer.max_steps: 2 -> 600\n" in said
    assert "To train longer is a change too" in said
    said = refused("--resume", str(run_dir), "--trainer.max_steps", "600", "--allow-changes")
    assert "is refused" in said  # the checkpoint, which is none


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--data.decoding.num_workers", "7", "--stage", "test"],
        [TSPO[0], "--overlay", TSPO[1]],
        [TSPO[0], "--overlay", TSPO[1], "--trainer.logger", "false", "--data.init_args.decoding.pixel_cache_mib=0"],
    ],
)
def test_the_same_recipe_and_what_changes_no_number_are_no_change(run_dir: Path, words: list[str]) -> None:
    said = refused(*words, "--resume", str(run_dir))
    assert "last.ckpt" in said
    assert "would change it" not in said


@pytest.mark.parametrize("allowed", [[], ["--allow-changes"]])
def test_another_evolution_says_what_cannot_be_carried_over(run_dir: Path, allowed: list[str]) -> None:
    said = refused("--resume", str(run_dir), "--model.evolve", "joint", *allowed)
    assert "neither the MLLM's weights nor Adam's moments" in said
    assert f"--model.evolve joint --model.init_from {run_dir}/checkpoints/last.ckpt" in said


def test_references_that_have_their_values_cannot_be_set(run_dir: Path) -> None:
    assert "have" not in refused(TSPO[0], "--vars.temperature_start", "0.2", "--resume", "last")
    assert "set the keys in which they are used" in refused("--vars.temperature_start", "0.2", "--resume", str(run_dir))


def test_without_recipe_a_run_has_to_be_named(run_dir: Path) -> None:
    assert "--resume last needs the recipe" in refused("--resume", "last")
    (run_dir / "recipe.yaml").unlink()
    assert "name the recipe that it was made by" in refused("--resume", str(run_dir))


def test_a_run_without_a_recorded_recipe_goes_on_and_says_so(run_dir: Path, caplog) -> None:
    (run_dir / "recipe.yaml").unlink()
    typed = merge(TSPO, [])
    found = continuation(typed, BegunRun(run_dir), lambda _: pytest.fail("there is nothing to compare with"))
    assert found.changes == []
    assert "is missing, so nothing tells" in caplog.text


def test_a_job_that_is_queued_again_takes_the_run_s_own_recipe_and_names_what_differs(run_dir: Path, caplog) -> None:
    from recipes.launcher.launch import complete

    typed = merge(TSPO, ["--trainer.max_steps", "9"])
    found = continuation(typed, BegunRun(run_dir), complete, requeued=True)
    assert found.recipe.trainer.max_steps == 2
    assert found.changes == []
    assert "trainer.max_steps: 2 -> 9" in caplog.text


def test_what_is_allowed_is_noted(run_dir: Path) -> None:
    from recipes.launcher.launch import complete

    typed = merge([str(run_dir / "recipe.yaml")], ["--trainer.max_steps", "9"])
    found = continuation(typed, BegunRun(run_dir), complete, allow_changes=True)
    assert [str(change) for change in found.changes] == ["trainer.max_steps: 2 -> 9"]


def test_last_of_a_name_stays_the_checkpoint_that_it_was(run_dir: Path) -> None:
    path = run_dir / "recipe.yaml"
    content = yaml.safe_load(path.read_text())
    content["model"]["init_args"]["init_from"] = "outputs/other/20260101-000000/checkpoints/last.ckpt"
    path.write_text(yaml.safe_dump(content))
    typed = merge(TSPO, ["--model.init_from", "last:other"])
    found = continuation(typed, BegunRun(run_dir), lambda recipe: {**content, "run_dir": str(run_dir)})
    assert found.recipe.model.init_args.init_from == content["model"]["init_args"]["init_from"]


def test_a_run_that_was_moved_has_its_paths_where_it_lies(run_dir: Path, tmp_path: Path, monkeypatch) -> None:
    moved, elsewhere = tmp_path / "archive/one", tmp_path / "elsewhere"
    shutil.copytree(run_dir, moved)
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    recipe, _, run = start(None, [], [], "../archive/one")
    assert Path.cwd() == tmp_path  # where the run was started: its data lie there
    assert run is not None
    assert run.run_dir == Path("archive/one")
    assert Path(recipe) == Path("archive/one/recipe.yaml")
    recorded = run.recorded()
    assert recorded is not None
    assert recorded["run_dir"] == "archive/one"
    assert recorded["trainer"]["callbacks"][1]["init_args"]["dirpath"] == "archive/one/checkpoints"
    assert recorded["data"]["init_args"]["root"] == "data/haystack/videos"


def test_files_of_the_command_line_are_found_after_the_folder_has_changed(run_dir: Path, tmp_path, monkeypatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.yaml").write_text("trainer: {max_steps: 3}\n")
    monkeypatch.chdir(elsewhere)
    recipe, overlays, run = start("recipes/tspo.yaml", ["mine.yaml"], [], f"../{run_dir}")
    assert (recipe, overlays) == ("recipes/tspo.yaml", [str(elsewhere / "mine.yaml")])
    assert run == BegunRun(run_dir)
    # a rank that Lightning starts from there reads the same words where they were typed, and the same folder
    monkeypatch.setenv("LOCAL_RANK", "1")
    begin_with_parent()
    assert Path.cwd() == elsewhere
    assert start("recipes/tspo.yaml", ["mine.yaml"], [], f"../{run_dir}") == (recipe, overlays, run)
    assert Path.cwd() == tmp_path


def test_a_folder_that_is_gone_is_named(run_dir: Path, caplog) -> None:
    (run_dir / "environment.json").write_text('{"working_folder": "/nowhere/at/all"}')
    assert start(None, [], [], str(run_dir))[2] == BegunRun(run_dir)
    assert "/nowhere/at/all, which is not here" in caplog.text


def test_auto_begins_where_nothing_has_begun(run_dir: Path) -> None:
    assert find_begun("auto", TSPO, ["--run_dir", "outputs/new"]) is None
    assert find_begun("auto", TSPO, ["--run_dir", str(run_dir)]) == BegunRun(run_dir)


def test_changes_by_hand() -> None:
    old = {
        "name": "a",
        "model": {"class_path": "A", "init_args": {"x": 1, "gone": 2, "none": None, "list": [1, 2]}},
        "trainer": {"callbacks": [{"class_path": "callbacks.timeline.TimelineImages", "init_args": {"every": 50}}]},
    }
    new = {
        "name": "a",
        "run_dir": "other",
        "model": {"class_path": "A", "init_args": {"x": 1.0, "list": [1], "default": 5, "typed": 6}},
        "trainer": {
            "callbacks": [
                {"class_path": "callbacks.curriculum.Curriculum", "init_args": {"start": 1}},
                {"class_path": "callbacks.timeline.TimelineImages", "init_args": {"every": 50}},
            ]
        },
    }
    typed = {"model": {"init_args": {"typed": 6}}, "trainer": {"callbacks": new["trainer"]["callbacks"][:1]}}
    assert [str(change) for change in changes_of(old, new, typed)] == [
        "model.gone: 2 -> None",
        "model.list: [1, 2] -> [1]",
        "model.typed: None -> 6",
        "trainer.callbacks.curriculum.class_path: None -> callbacks.curriculum.Curriculum",
        "trainer.callbacks.curriculum.start: None -> 1",
    ]


def test_no_recipe_is_overwritten_by_another(tmp_path: Path) -> None:
    record(tmp_path, "a: 1\n", Recording())
    record(tmp_path, "a: 1\n", Recording())
    record(tmp_path, "a: 1 # of newer code\n", Recording(resumed=True))
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.yaml"]
    record(tmp_path, "a: 2\n", Recording(("a: 1 -> 2",), resumed=True), update=25)
    record(tmp_path, "a: 3\n", Recording())
    texts = {p.name: p.read_text() for p in tmp_path.iterdir()}
    assert texts["recipe.1.yaml"] == "a: 1\n"
    assert texts["recipe.2.yaml"] == (
        "# In effect after update 25; before, it was recipe.1.yaml. What has changed:\n#   a: 1 -> 2\na: 2\n"
    )
    assert texts["recipe.yaml"] == "# An earlier run in this folder was made by recipe.2.yaml.\na: 3\n"
    record(tmp_path, "a: 3\n", Recording())
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("command", ["run", "check"])
def test_values_of_keys_are_no_recipes(command: str) -> None:
    words = [command, "--resume", "R", "--stage", "test", "--allow-changes", "--a.b", "--c", "x.yaml", "--d=e", "--f"]
    assert with_values(words) == [
        command,
        "--resume=R",
        "--stage=test",
        "--allow-changes",
        "--a.b=--c",
        "x.yaml",
        "--d=e",
        "--f",
    ]
    options = vars(build_parser().parse_args([command]))["parser"]._actions
    assert {word for o in options if o.nargs == 0 for word in o.option_strings if word.startswith("--")} <= {*FLAGS}
    assert not {word for o in options if o.nargs != 0 for word in o.option_strings} & {*FLAGS}
