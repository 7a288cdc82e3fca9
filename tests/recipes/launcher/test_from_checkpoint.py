"""A checkpoint knows what it is: recipes that use it need not be told its sampler's settings again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from trained_runs import KINDS, trained_run

from modules.checkpoints.sampler_files import write_sampler
from modules.encoders.transformers_clip import TransformersCLIP
from modules.methods.tspo.agent import TSPOSampler
from modules.methods.tspo.published_folder import write_tspo_folder
from modules.small_stack.blank_families import write_blank_hf_clip
from recipes.launcher.check import check
from recipes.launcher.from_checkpoint import known_of_checkpoint, merged_with_checkpoint
from recipes.launcher.guard import ROOT
from recipes.launcher.merge import merge
from recipes.launcher.mistakes import RecipeError
from recipes.launcher.runs import resolve_checkpoint
from recipes.launcher.whole_checkpoints import whole_for

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


def test_what_an_overlay_asks_for_goes_over_its_own_words_and_below_those_of_later_ones(tmp_path: Path) -> None:
    """`overlays/trained.yaml` names TSPO's agent, and takes any sampler that a checkpoint holds."""
    named = ["--checkpoint", checkpoint(tmp_path / "unet.ckpt", trained(UNET))]
    files = [str(ROOT / "recipes/comparison.yaml"), str(ROOT / "recipes/overlays/trained.yaml")]
    sampler = "model.init_args.systems.sampler.init_args.sampler"
    assert OmegaConf.select(merged_with_checkpoint(files, named), sampler) == UNET
    (tmp_path / "later.yaml").write_text(yaml.safe_dump(_nested(f"{sampler}.init_args.temperature", 0.5)))
    later = OmegaConf.select(merged_with_checkpoint([*files, str(tmp_path / "later.yaml")], named), sampler)
    assert later == {**UNET, "init_args": {**UNET["init_args"], "temperature": 0.5}}


def _nested(key: str, value: object) -> object:
    return value if not key else {key.partition(".")[0]: _nested(key.partition(".")[2], value)}


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


def consolidated(folder: Path, recipe: dict, *, with_mllm: bool) -> Path:
    """A folder as `lightning consolidate` writes it."""
    text = yaml.safe_dump(recipe)
    weights = {"sampler.x": torch.zeros(1)}
    write_sampler(folder / "sampler.safetensors", weights, recipe=text, temperature=None, with_mllm=with_mllm)
    if with_mllm:
        (folder / "mllm").mkdir()
    return folder


def test_a_consolidated_folder_is_a_checkpoint_wherever_it_lies(tmp_path: Path) -> None:
    folder = consolidated(tmp_path / "first", trained(UNET), with_mllm=False)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(trained({"class_path": "of.another.Run"})))
    moved = folder.rename(tmp_path / "moved")
    for named in (moved, moved / "sampler.safetensors"):
        merged = check(ASK, [], [*WORDS, "--checkpoint", str(named)])
        assert merged.model.init_args.systems.sampler.init_args.sampler == UNET
        assert resolve_checkpoint(str(named)) == moved / "sampler.safetensors"


def test_an_mllm_that_was_trained_is_the_one_beside_the_sampler(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mllm = {
        "class_path": "modules.mllms.qwen_vl.Qwen25VL",
        "init_args": {"path": "some/model", "loading": {"lora": {"rank": 8}, "dtype": "bfloat16"}},
    }
    recipe = trained(UNET)
    recipe["model"]["init_args"]["mllm"] = mllm
    folder = consolidated(tmp_path / "joint", recipe, with_mllm=True)
    merged = check(ASK, [], [*WORDS, "--checkpoint", str(folder)])
    found = merged.model.init_args.mllm.init_args
    assert found.path == str(folder / "mllm")
    assert found.loading == {"lora": None, "dtype": "bfloat16"}  # its adapters are merged into it
    assert not caplog.messages
    benchmark = str(ROOT / "recipes/eval/mlvu.yaml")  # keeps the MLLM that it names
    merged = merge([benchmark], ["--checkpoint", str(folder)])
    known_of_checkpoint(merged)
    assert f"--model.mllm.path {folder / 'mllm'} takes it" in caplog.text
    caplog.clear()
    known_of_checkpoint(merge([benchmark], ["--checkpoint", str(folder), "--vars.mllm", str(folder / "mllm")]))
    assert not caplog.messages
    (folder / "mllm").rmdir()
    with pytest.raises(RecipeError, match="mllm' is not a folder"):
        check(ASK, [], [*WORDS, "--checkpoint", str(folder)])


def test_no_training_goes_on_from_a_sampler_alone(tmp_path: Path) -> None:
    path = consolidated(tmp_path, trained(UNET), with_mllm=False) / "sampler.safetensors"
    with pytest.raises(ValueError, match=r"a new one starts from it with --checkpoint null --model\.init_from"):
        whole_for(path, ["fit", "test"])
    assert whole_for(path, "test") == path


def test_a_published_tspo_folder_is_a_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_blank_hf_clip(tmp_path / "clip")
    clip, sampler = TransformersCLIP(path=str(tmp_path / "clip")), TSPOSampler(dim=32)
    write_tspo_folder(clip.model, str(tmp_path / "clip"), sampler.official_state_dict(), tmp_path / "tspo")
    merged = check(ASK, [], [*WORDS, "--checkpoint", str(tmp_path / "tspo")])
    assert merged.checkpoint is None
    found = merged.model.init_args.systems.sampler.init_args.sampler
    assert found.class_path == "modules.methods.tspo.agent.TSPOSampler"
    assert found.init_args == {"dim": 32, "weights": str(tmp_path / "tspo")}
    assert merged.data.init_args.encoder.init_args == {"path": str(tmp_path / "tspo")}
    assert "does not say which MLLM" in caplog.text
    with pytest.raises(RecipeError, match="neither checkpoints/last"):  # a CLIP without TSPO's sampler is none
        check(ASK, [], [*WORDS, "--checkpoint", str(tmp_path / "clip")])


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_needs_no_sampler_arguments(kind: str, tmp_path: Path) -> None:
    run = trained_run(tmp_path / kind, kind)
    merged = check(str(ROOT / "recipes/eval/haystack.yaml"), [], ["--checkpoint", str(run)])
    arguments = yaml.safe_load((run / "recipe.yaml").read_text())["model"]["init_args"]
    system = merged.model.init_args.systems.sampler.init_args
    assert system.sampler == arguments["sampler"]
    assert system.get("query_writer") == arguments.get("query_writer")
    assert merged.model.init_args.mllm == arguments["mllm"]


def test_a_localizer_is_asked_as_the_agent_that_it_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system is the run's agent, with the sampler that was trained in it; what has no agent stays a sampler."""
    monkeypatch.chdir(ROOT)
    scopes = [{"levels": [{"scope_s": 20, "fps": 2}, {"scope_s": 5, "fps": 2}]}]
    served = {"model": "m", "base_url": "http://127.0.0.1:1/v1"}
    reasoner = {
        "class_path": "modules.roles.mllm_reasoner.MLLMReasoner",
        "init_args": {"mllm": {"class_path": "modules.mllms.openai.OpenAIChat", "init_args": served}},
    }
    lucy = "modules.methods.videolucy.videolucy.VideoLucy"
    agent = {"class_path": lucy, "init_args": {"reasoner": reasoner, "scopes": scopes, "max_rounds": 3}}
    recipe = trained(UNET)
    recipe["model"]["init_args"]["answering"] = {"agent": agent}
    merged = check(ASK, [], [*WORDS, "--checkpoint", checkpoint(tmp_path / "led.ckpt", recipe)])
    system = merged.model.init_args.systems.sampler
    assert system.class_path == lucy
    assert system.init_args == {**agent["init_args"], "sampler": UNET}
    recipe["model"]["init_args"]["answering"]["agent"] = None
    merged = check(ASK, [], [*WORDS, "--checkpoint", checkpoint(tmp_path / "alone.ckpt", recipe)])
    assert merged.model.init_args.systems.sampler.class_path.endswith("SamplerSystem")
    assert merged.model.init_args.systems.sampler.init_args.sampler == UNET


def test_each_of_several_weights_is_built_as_its_own_run_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    agent = {"class_path": "modules.methods.tspo.agent.TSPOSampler", "init_args": {"dim": 64, "window": 3}}
    overlay = str(ROOT / "recipes/overlays/samplers.yaml")
    given = {"tspo": agent, "unet": UNET, "refocus": None, "kairos": UNET}
    words = []
    for name, sampler in given.items():
        path = "null" if sampler is None else checkpoint(tmp_path / f"{name}.ckpt", trained(sampler))
        words += [f"--model.weights.{name}", path]
    merged = check("recipes/comparison.yaml", [overlay], words)
    systems = merged.model.init_args.systems
    assert systems.tspo.init_args.sampler == agent
    assert systems.unet.init_args.sampler == UNET
    assert systems.tspo_dpp.init_args.like == "tspo"
    assert "refocus" not in systems
    with pytest.raises(RecipeError, match=r"weights\.unet: no such file"):
        check("recipes/comparison.yaml", [overlay], [*words, "--model.weights.unet", str(tmp_path / "gone.ckpt")])
    nameless = checkpoint(tmp_path / "nameless.ckpt", {"model": {}})
    with pytest.raises(RecipeError, match=r"weights\.unet: this file does not say which sampler it is"):
        check("recipes/comparison.yaml", [overlay], [*words, "--model.weights.unet", nameless])
