"""``lightning export --hub-folder``: a folder that can be pushed, and taken again wherever a checkpoint is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from trained_runs import trained_run

from modules.checkpoints.checkpoint_files import read
from modules.selection.published_selections import UNITS, publish
from modules.selection.selection_files import read_selections, write_selections
from modules.selection.selection_row import SelectionRow
from recipes.launcher.cli import main
from recipes.launcher.from_checkpoint import recorded_recipe
from recipes.launcher.runs import resolve_checkpoint


def rows(system: str = "after") -> list[SelectionRow]:
    return [
        SelectionRow(
            "haystack",
            "test",
            f"test-0000{n}-q00",
            f"/home/somebody/videos/{n}.mp4",
            system,
            (3 + n, 40, 900),
            (1.5 + n / 2, 20.0, 450.0),
            (0.1, 0.9, 0.5),
            (2, 0, 1),
            video_fps=2.0,
            num_video_frames=1200,
            num_candidates=600,
            decoder="PyAV",
            sampler_hash="abc",
        )
        for n in range(3)
    ]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = trained_run(tmp_path_factory.mktemp("runs") / "unet", "unet")
    write_selections(folder / "selections.parquet", [*rows("uniform"), *rows()])
    table = ["sample_id,video,system,correct,probability"]
    for n in range(3):
        table += [f"q{n},{n}.mp4,{system},{int(right > n)},0.5" for system, right in (("uniform", 1), ("after", 2))]
    (folder / "test_rows.csv").write_text("\n".join(table) + "\n")
    return folder


@pytest.fixture(scope="module")
def hub(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hub") / "sampler"
    main(["export", str(run_dir), "--hub-folder", str(out)])
    return out


def test_the_folder_is_a_checkpoint_with_the_same_weights(run_dir: Path, hub: Path) -> None:
    trained = read(run_dir / "checkpoints/last.ckpt")["state_dict"]
    weights = load_file(hub / "sampler.safetensors")
    assert weights.keys() == trained.keys()
    assert all((weights[name] == trained[name]).all() for name in weights)
    path = resolve_checkpoint(str(hub))
    assert path == hub / "sampler.safetensors"
    recipe = recorded_recipe(path)
    assert recipe is not None
    assert recipe["model"]["init_args"]["sampler"]["class_path"] == "modules.methods.msjoe.unet.UNetSampler"
    assert yaml.safe_load((hub / "recipe.yaml").read_text()) == recipe


def test_nothing_in_it_is_a_pickle(hub: Path) -> None:
    assert {p.suffix for p in hub.rglob("*") if p.is_file()} == {".safetensors", ".md", ".json", ".yaml"}


def test_selections_are_published_with_rate_units_and_hash(hub: Path) -> None:
    assert sorted(p.name for p in (hub / "selections").iterdir()) == ["after.about.json", "after.json"]
    content = json.loads((hub / "selections/after.json").read_text())
    assert [row["frame_idx"] for row in content] == [list(row.frame_ids) for row in rows()]
    assert {row["fps"] for row in content} == {2.0}
    assert content[1]["video_path"] == "1.mp4"
    about = json.loads((hub / "selections/after.about.json").read_text())
    assert about["sha256"] == hashlib.sha256((hub / "selections/after.json").read_bytes()).hexdigest()
    assert about["sampler_hash"] == ["abc"]
    assert set(content[0]) - {"id", "dataset", "split", "video_path"} == set(about["units"]) == set(UNITS)
    again = read_selections(hub / "selections/after.json")
    assert [(r.sample_id, r.frame_ids) for r in again] == [(r.sample_id, r.frame_ids) for r in rows()]


def test_no_folder_of_this_machine_is_told_in_selections_or_card(hub: Path, run_dir: Path) -> None:
    for file in (hub / "README.md", *(hub / "selections").iterdir()):
        assert "/home/somebody" not in file.read_text()
        assert str(run_dir) not in file.read_text()


def test_the_card_says_what_it_is_what_it_reached_and_what_its_files_are(hub: Path) -> None:
    card = (hub / "README.md").read_text()
    _, header, text = card.split("---\n", 2)
    assert yaml.safe_load(header)["library_name"] == "kairos"
    assert "UNetSampler" in text
    assert "| after | 0.667 " in text
    assert text.index("| uniform | 0.333") < text.index("| after | 0.667"), "the floor comes first"
    for file in ("sampler.safetensors", "recipe.yaml", "selections/after.json"):
        assert f"| `{file}` | `{hashlib.sha256((hub / file).read_bytes()).hexdigest()}` |" in text


def test_what_is_there_is_not_mixed_with_it(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    main(["export", str(run_dir), "--hub-folder", str(tmp_path / "out")])  # an empty folder is taken
    with pytest.raises(SystemExit, match="is not empty"):
        main(["export", str(run_dir), "--hub-folder", str(tmp_path / "out")])
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit, match="is not empty"):
        main(["export", str(run_dir), "--hub-folder", str(tmp_path / "file")])
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_without_a_test_gives_weights_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained_run(tmp_path / "tspo", "tspo")
    main(["export", str(run), "--hub-folder", str(tmp_path / "hub")])
    assert "selections  none" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "hub").iterdir()) == ["README.md", "recipe.yaml", "sampler.safetensors"]
    assert "## Selections" not in (tmp_path / "hub/README.md").read_text()


def test_selections_of_another_run_and_system(run_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    write_selections(file, [*rows("a b"), *rows("c")])
    command = ["export", str(run_dir), "--hub-folder", str(tmp_path / "hub"), "--selections-file", str(file)]
    with pytest.raises(SystemExit, match="holds several systems"):
        main(command)
    assert not (tmp_path / "hub").exists(), "nothing half-written stays"
    main([*command, "--sampler", "a b"])
    assert (tmp_path / "hub/selections/a_b.json").is_file()
    assert "## Reached" not in (tmp_path / "hub/README.md").read_text(), "numbers of the training are not of these"


def test_options_that_do_not_go_together(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--num-frames does not go with it"):
        main(["export", str(run_dir), "--hub-folder", str(tmp_path / "hub"), "--num-frames", "4"])
    with pytest.raises(SystemExit, match="export needs --format and --out"):
        main(["export", str(run_dir / "selections.parquet")])
    with pytest.raises(ValueError, match="one system are published at a time, here are after, uniform"):
        publish([*rows(), *rows("uniform")], tmp_path)
