"""A checkpoint knows what it is: recipes that use it need not be told its sampler's settings again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from recipes.launcher.check import check
from recipes.launcher.from_checkpoint import known_of_checkpoint
from recipes.launcher.guard import ROOT
from recipes.launcher.merge import merge
from recipes.launcher.mistakes import RecipeError

ASK = str(ROOT / "recipes/ask.yaml")
WORDS = ["--video", __file__, "--question", "What?"]
UNET = {"class_path": "modules.methods.msjoe.unet.UNetSampler", "init_args": {"max_queries": 1, "channels": [8]}}


def checkpoint(path: Path, recipe: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = recipe if isinstance(recipe, str) else yaml.safe_dump(recipe)
    torch.save({"state_dict": {"sampler.x": torch.zeros(1)}, "recipe": text}, path)
    return str(path)


def trained(sampler: dict) -> dict:
    return {"model": {"init_args": {"sampler": sampler, "query_writer": None, "num_frames": 5}}}


def test_a_copied_checkpoint_says_which_sampler_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path = checkpoint(tmp_path / "copied.ckpt", trained(UNET))
    merged = check(ASK, [], [*WORDS, "--checkpoint", path])
    system = merged.model.init_args.systems.sampler.init_args
    assert system.sampler == UNET
    assert merged.model.init_args.num_frames == 5
    assert "LlavaOnevision" in merged.model.init_args.mllm.class_path  # nothing is said of it, so the recipe's stays
    merged = check(
        ASK, [], [*WORDS, "--checkpoint", path, "--num_frames", "3", "--model.systems.sampler.sampler.channels", "[16]"]
    )
    assert merged.model.init_args.num_frames == 3  # the command line knows best
    assert merged.model.init_args.systems.sampler.init_args.sampler.init_args.channels == [16]


def test_the_recipe_of_the_run_folder_needs_no_checkpoint_to_be_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints/last.ckpt"
    path.parent.mkdir()
    path.write_bytes(b"never read")
    old = {"class_path": "modules.samplers.msjoe.UNetSampler", "init_args": {"max_queries": 1}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(trained(old)))
    known = known_of_checkpoint(merge([ASK], ["--checkpoint", str(path)]))
    assert known is not None
    sampler = known["model"]["init_args"]["systems"]["sampler"]["init_args"]["sampler"]
    assert sampler["class_path"] == UNET["class_path"]  # under its name of now


def test_a_stranger_s_checkpoint_is_checked_like_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for sampler, said in (
        ({"class_path": "os.system", "init_args": {"command": "true"}}, "os.system"),
        ({"class_path": UNET["class_path"], "init_args": {"channels": "many"}}, "channels"),
    ):
        path = checkpoint(tmp_path / "strange.ckpt", trained(sampler))
        with pytest.raises(RecipeError, match=said):
            check(ASK, [], [*WORDS, "--checkpoint", path])
    for text in ("a: &a [*a]", "x: ${oc.env:HOME}", "!!python/object/apply:os.system [true]"):
        with pytest.raises(RecipeError):
            check(ASK, [], [*WORDS, "--checkpoint", checkpoint(tmp_path / "strange.ckpt", text)])


def test_a_checkpoint_from_before_is_said_to_be_silent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save({"state_dict": {"sampler.x": torch.zeros(1)}}, tmp_path / "old.ckpt")
    assert known_of_checkpoint(merge([ASK], ["--checkpoint", str(tmp_path / "old.ckpt")])) is None
    assert "does not say what it is" in caplog.text
    assert known_of_checkpoint(merge([ASK], ["--checkpoint", "nowhere.ckpt"])) is None
