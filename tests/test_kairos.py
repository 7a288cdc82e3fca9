"""Kairos from Python: what it answers is what the command answers, whatever was trained, wherever it is asked."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from trained_runs import KINDS, trained_run

import kairos
from callbacks.answer_sheet import AnswerSheet
from datamodules.haystack.video_writing import write_video
from datamodules.haystack.world import World
from datamodules.video import extraction
from modules.encoders.transformers_clip import TransformersCLIP
from modules.methods.tspo.agent import TSPOSampler
from modules.methods.tspo.published_folder import write_tspo_folder
from modules.small_stack.blank_families import write_blank_hf_clip
from modules.systems.base import Reply
from recipes.launcher.cli import main
from recipes.launcher.consolidate import consolidate
from recipes.launcher.guard import ROOT

OWN_SAMPLER = """
from modules.selection.base import FrameSampler
from modules.selection.policies import PlackettLuce


class FirstFrames(FrameSampler):
    \"\"\"The first frames of a video.\"\"\"

    def forward(self, features, mask, timestamps_s, queries):
        return PlackettLuce(-timestamps_s, mask)
"""
QUESTION, OPTIONS = "What colour is the last shape?", ["red", "green", "blue"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, short_video: Path) -> Path:
    """A working folder, with a video in it and a run of every kind of sampler."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "video.mp4").write_bytes(short_video.read_bytes())
    for kind in KINDS:
        trained_run(folder / "outputs" / kind / "20260101-000000", kind)
    return folder


@pytest.fixture(autouse=True)
def _there(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)


@pytest.fixture(scope="module")
def tspo(workplace: Path) -> Iterator[kairos.Loaded]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace)
        with kairos.load("last:tspo", device="cpu") as loaded:
            yield loaded


def of_the_command(monkeypatch: pytest.MonkeyPatch, *words: str) -> Reply:
    """What `lightning run recipes/ask.yaml` replies."""
    replies: list[Reply] = []

    def keep(sheet: AnswerSheet, trainer: Any, module: Any, outputs: list[Reply], *_: Any, **__: Any) -> None:
        replies.extend(outputs)

    monkeypatch.setattr(AnswerSheet, "on_predict_batch_end", keep)
    monkeypatch.delenv("KAIROS_RUN_DIR", raising=False)
    main(
        [
            "run",
            "recipes/ask.yaml",
            "--video",
            "video.mp4",
            "--question",
            QUESTION,
            "--trainer.accelerator",
            "cpu",
            *words,
        ]
    )
    (reply,) = replies
    return reply


def same(answer: kairos.Answer, reply: Reply) -> None:
    assert answer.reply.answer == reply.answer
    assert answer.reply.selection == reply.selection
    ours, theirs = answer.cost, reply.cost
    assert (ours.frames_decoded, ours.frames_shown, ours.calls) == (
        theirs.frames_decoded,
        theirs.frames_shown,
        theirs.calls,
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_command_answers_alike_and_nobody_says_the_sampler_again(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ", ".join(OPTIONS)
    expected = of_the_command(monkeypatch, "--checkpoint", f"last:{kind}", "--options", options)
    loaded = kairos.load(f"last:{kind}", device="cpu")
    answer = loaded.ask("video.mp4", QUESTION, OPTIONS)
    same(answer, expected)
    assert loaded.select("video.mp4", QUESTION).row == expected.selection  # the same frames where nothing is answered
    assert sum(answer.options.values()) == pytest.approx(1.0)
    assert answer.text == max(answer.options, key=answer.options.__getitem__)

    consolidate(f"last:{kind}", str(tmp_path / "out"))
    copied = (tmp_path / "out").rename(tmp_path / "copied")  # what is in it knows what it is
    assert (copied / "mllm").is_dir() == (kind == "msjoe")
    video = str(Path("video.mp4").absolute())
    monkeypatch.chdir(tmp_path)
    again = kairos.load(copied, device="cpu").ask(video, QUESTION, OPTIONS)
    assert again.reply.answer.option_log_probs == pytest.approx(expected.answer.option_log_probs, abs=1e-6)
    assert again.timestamps_s == expected.answer.timestamps_s


@pytest.mark.slow
def test_the_command_takes_what_consolidate_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    consolidate("last:unet", "build/unet")
    expected = of_the_command(monkeypatch, "--checkpoint", "outputs/unet/20260101-000000")
    for named in ("build/unet", "build/unet/sampler.safetensors"):
        found = of_the_command(monkeypatch, "--checkpoint", named)
        assert (found.answer, found.selection) == (expected.answer, expected.selection)


def test_importing_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import time, sys; began = time.perf_counter(); import kairos; took = time.perf_counter() - began; "
        "heavy = {'torch', 'lightning', 'transformers', 'matplotlib', 'numpy'} & set(sys.modules); "
        "assert not heavy, heavy; assert took < 1, took"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_video_is_decoded_for_all_frames_once(
    tspo: kairos.Loaded, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: list[str] = []

    def counted(requests: Any, *arguments: Any, **keywords: Any) -> Any:
        def each() -> Iterator[Any]:
            for request in requests:
                whole.append(request.path)
                yield request

        return stream(each(), *arguments, **keywords)

    stream = extraction.stream_many
    monkeypatch.setattr(extraction, "stream_many", counted)
    copy = workplace / "another.mp4"
    write_video(copy, World(seed=8, duration_s=100.0, event_duration_s=(2.0, 2.5)), "train", 0)
    for question in ("What is first?", "What is last?", "What colour is the star?"):
        tspo.select(copy, question)
        tspo.ask(copy, question, k=2)
    kairos.load("last:tspo", device="cpu").select(copy, "Another session?")
    assert whole == [str(copy)]


def test_systems_have_names(tspo: kairos.Loaded) -> None:
    assert tspo.systems() == ["sampler", "uniform", "clip_topk", "blind"]
    uniform = tspo.system("uniform")
    assert uniform.systems() == tspo.systems()
    even = uniform.select("video.mp4", QUESTION, k=5)
    assert even.timestamps_s == tspo.select("video.mp4", QUESTION, k=5, system="uniform").timestamps_s
    assert np.ptp(np.diff(even.timestamps_s)) <= 1.5
    assert not even.scores
    assert even.candidate_scores is None
    blind = tspo.ask("video.mp4", QUESTION, OPTIONS, system="blind")
    assert blind.selection is None
    assert blind.cost.frames_shown == 0
    assert "looked at   nothing" in str(blind)
    with pytest.raises(ValueError, match="looked at no frames"):
        blind.picture()


def test_a_selection_is_its_frames(tspo: kairos.Loaded, short_video: Path) -> None:
    chosen = tspo.select("video.mp4", QUESTION, k=3)
    assert len(chosen) == len(chosen.timestamps_s) == len(chosen.scores) == 3
    assert chosen.frames.dtype == np.uint8
    assert chosen.frames.shape == (3, 64, 64, 3)
    assert chosen.candidate_scores is not None
    index = np.searchsorted(chosen.candidate_timestamps_s, chosen.timestamps_s)
    assert tuple(chosen.candidate_scores[index].tolist()) == chosen.scores
    assert set(chosen.scores) == set(np.sort(chosen.candidate_scores)[-3:].tolist())
    assert len(tspo.select("video.mp4", QUESTION, k=1000)) == len(chosen.candidate_timestamps_s)  # all there are


def test_choosing_frames_needs_no_mllm(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = kairos.load("last:tspo", device="cpu", settings={"model.mllm.path": "unheard-of/model"})
    assert len(loaded.select("video.mp4", QUESTION)) == 8
    with pytest.raises(ValueError, match="unheard-of/model"):
        loaded.ask("video.mp4", QUESTION)


def test_nothing_is_printed_unless_it_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    loaded = kairos.load("outputs/refocus/20260101-000000/checkpoints/last.ckpt", device="cpu")
    answer = loaded.ask("video.mp4", QUESTION, "red, green, blue")
    assert repr(answer)
    assert capfd.readouterr() == ("", "")
    answer.show()
    printed = capfd.readouterr().out
    for word in ("answer      ", "options     red ", "looked at   ", "cost        ", "▲"):
        assert word in printed


def test_in_a_notebook_it_is_a_picture(tspo: kairos.Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    displayed: list[Any] = []
    shell = types.SimpleNamespace(kernel=object())
    ipython: Any = types.ModuleType("IPython")
    ipython.version_info = (9, 0)  # matplotlib asks
    ipython.get_ipython, ipython.display = lambda: shell, types.SimpleNamespace(display=displayed.append)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    chosen = tspo.select("video.mp4", "Is <b>this</b> shown as text?", k=4)
    chosen.show()
    assert displayed == [chosen]
    page = chosen._repr_html_()
    assert "data:image/png;base64," in page
    assert "&lt;b&gt;this&lt;/b&gt;" in page
    chosen.save(tmp_path / "sheets" / "sheet.jpg")
    width, height = Image.open(tmp_path / "sheets" / "sheet.jpg").size
    assert width > height > 300


@pytest.mark.slow
def test_other_things_that_can_be_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert kairos.load(ROOT / "recipes/tspo.yaml").systems() == ["sampler", "uniform", "clip_topk", "blind"]
    begun = kairos.load("recipes/msjoe.yaml", device="cpu")  # starts from the shipped stage 1
    assert begun.select("video.mp4", QUESTION, k=2).row.sampler_hash.startswith("UNetSampler-")
    systems = kairos.load("recipes/eval/haystack.yaml", device="cpu")
    assert systems.systems()[0] == "sampler"
    assert {"sampled", "best of 8", "official", "uniform", "blind"} <= set(systems.systems())
    assert "oracle" not in systems.systems()
    assert systems.ask("video.mp4", QUESTION, OPTIONS, system="best of 8").timestamps_s
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "recipe.yaml").write_text((ROOT / "recipes/ask.yaml").read_text())
    assert kairos.load(folder, settings={"checkpoint": "last:tspo"}).systems()[0] == "sampler"
    assert "does not say" not in caplog.text


def test_features_that_cannot_be_kept_are_an_error_in_a_sentence() -> None:
    loaded = kairos.load("last:tspo", device="cpu", settings={"data.feature_dir": "video.mp4"})
    with pytest.raises(ValueError, match=r"video\.mp4.*; settings=\{'data\.feature_dir': FOLDER\} names another"):
        loaded.select("video.mp4", QUESTION)


def test_a_recipe_with_a_class_of_ones_own(tmp_path: Path) -> None:
    """It lies beside the recipe, or in a folder that is named."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "first_frames.py").write_text(OWN_SAMPLER)
    sampler = {"class_path": "first_frames.FirstFrames"}
    systems = {
        "first": {"class_path": "modules.systems.sampler_system.SamplerSystem", "init_args": {"sampler": sampler}}
    }
    recipe = {"base": str(ROOT / "recipes/ask.yaml"), "checkpoint": None, "model": {"init_args": {"systems": systems}}}
    for folder, user_dir in ((own, None), (tmp_path, own)):
        (folder / "mine.yaml").write_text(yaml.safe_dump(recipe))
        loaded = kairos.load(folder / "mine.yaml", device="cpu", user_dir=user_dir)
        assert loaded.select("video.mp4", QUESTION, k=3, system="first").row.ranks == (0, 1, 2)


@pytest.mark.slow
def test_a_published_folder_chooses_frames(tmp_path: Path) -> None:
    write_blank_hf_clip(tmp_path / "clip")
    clip, sampler = TransformersCLIP(path=str(tmp_path / "clip")), TSPOSampler(dim=32)
    write_tspo_folder(clip.model, str(tmp_path / "clip"), sampler.official_state_dict(), tmp_path / "tspo")
    loaded = kairos.load(tmp_path / "tspo", device="cpu", settings={"num_frames": 4})
    assert len(loaded.select("video.mp4", QUESTION)) == 4
    assert torch.equal(loaded._parts.systems["sampler"].sampler.key.weight, sampler.key.weight.bfloat16().float())


@pytest.mark.slow
def test_half_precision_is_the_mllms(tspo: kairos.Loaded) -> None:
    half = kairos.load("last:tspo", device="cpu", dtype="bfloat16")
    answer, whole = (loaded.ask("video.mp4", QUESTION, OPTIONS) for loaded in (half, tspo))
    assert {p.dtype for p in half._parts.module.mllm.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in half._parts.systems["sampler"].parameters()} == {torch.float32}
    assert answer.timestamps_s == whole.timestamps_s
    assert answer.options != whole.options
    assert list(answer.options.values()) == pytest.approx(list(whole.options.values()), abs=0.05)


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        ("outputs/tspo", {}, r"neither checkpoints/last\.ckpt nor .*; in outputs/tspo there is 20260101-000000/"),
        ("outputs/tspo/nowhere", {}, r"no such file: outputs/tspo/nowhere; in \S+/outputs/tspo there is 20260101"),
        ("last:nothing", {}, "no run of 'nothing'"),
        ("video.mp4", {}, "is refused|does not say"),
        ("recipes/data/inspect.yaml", {}, "has nothing that answers"),
        ("recipes/nothing.yaml", {}, "no such file: recipes/nothing.yaml"),
        ("last:tspo", {"model.num_frame": 3}, "did you mean 'num_frames'"),
        ("last:tspo", {"device": "cpu"}, "device: no such key"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_sentences(source: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kairos.load(source, settings=settings)


def test_what_cannot_be_asked_is_said_in_sentences(tspo: kairos.Loaded) -> None:
    Path("text.mp4").write_text("no video")
    for ask, message in (
        (
            lambda: tspo.select("nowhere.mp4", QUESTION),
            r"the video nowhere\.mp4 is not there; in \S+ there is .*video\.mp4",
        ),
        (
            lambda: tspo.select("outputs", QUESTION),
            "the video outputs is a folder, and not a video; in outputs there is",
        ),
        (lambda: tspo.select("text.mp4", QUESTION), r"cannot read video text\.mp4"),
        (lambda: tspo.ask("video.mp4", " "), "the question is empty"),
        (lambda: tspo.ask("video.mp4", QUESTION, k=0), "k=0: the number of frames is a whole number from 1 on"),
        (lambda: tspo.system("best"), "there is no system 'best' here; there are sampler, uniform"),
        (lambda: tspo.select("video.mp4", QUESTION, system="blind"), "'blind' chooses no frames"),
        (lambda: kairos.load("last:tspo", device="gpu"), "device='gpu' cannot be used here"),
        (lambda: kairos.load("last:tspo", dtype="int8"), "dtype='int8' is none of float32, bfloat16"),
        (lambda: kairos.load("last:tspo", user_dir="nowhere"), "nowhere: no such folder"),
    ):
        with pytest.raises(ValueError, match=message):
            ask()


def test_what_the_pages_show_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for page in ("docs/python.md", "README.md"):
        block = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)[0]
        exec(compile(block.replace('"FILE"', '"video.mp4"'), page, "exec"), {})
        assert "answer      " in capsys.readouterr().out
