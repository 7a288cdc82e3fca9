"""A model of the hub without a network: one sentence in a few seconds, through every loader; what is cached is used."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from modules.encoders.open_clip import OpenCLIPEncoder
from modules.encoders.siglip_patches import SiglipPatches
from modules.encoders.transformers_clip import TransformersCLIP
from modules.files import hub
from modules.files.hub import fetching
from modules.methods.refocus.backbones.mamba2 import Mamba2Backbone
from modules.methods.refocus.question_prompt import QuestionPrompt
from modules.methods.tspo.published_folder import write_tspo_folder
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.qwen_vl import Qwen25VL
from modules.roles.local_reasoner import LocalReasoner
from modules.small_stack.blank_families import write_blank_hf_clip
from recipes.launcher.guard import ROOT

ID = "somebody/no-such-model"
LOADERS: dict[str, tuple[str, Callable[[], Any]]] = {
    "MLLM": (ID, lambda: Qwen25VL(path=ID)),
    "MLLM, one word": ("no-such-model", lambda: LlavaOnevision(path="no-such-model")),
    "CLIP of transformers": (ID, lambda: TransformersCLIP(path=ID)),
    "SigLIP": (ID, lambda: SiglipPatches(path=ID)),
    "tokenizer": (ID, lambda: QuestionPrompt(tokenizer=ID)),
    "Mamba": (ID, lambda: Mamba2Backbone(path=ID)),
    "open_clip's tag": (
        "timm/vit_large_patch14_clip_224.openai",
        lambda: OpenCLIPEncoder(model="ViT-L-14", pretrained="openai"),
    ),
    "open_clip of the hub": (ID, lambda: OpenCLIPEncoder(model=f"hf-hub:{ID}")),
}
"""Which repository each asks for."""


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A new process's state, with a cache that holds nothing."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub._hindrance.cache_clear()
    yield cache
    hub._hindrance.cache_clear()


@pytest.mark.parametrize(
    ("weights", "load"),
    [
        ("vlm/model.int8.safetensors", lambda folder: LlavaOnevision(path=folder)),
        ("reasoner/model.int8.safetensors", lambda folder: LocalReasoner(path=folder)),
        ("clip/open_clip_model.int8.safetensors", lambda folder: OpenCLIPEncoder(model=f"local-dir:{folder}")),
    ],
)
def test_weights_that_are_cut_off_are_named(weights: str, load: Callable[[str], Any], tmp_path: Path) -> None:
    shipped = ROOT / "recipes/haystack/weights" / weights
    folder = tmp_path / "model"
    shutil.copytree(shipped.parent, folder)
    cut = folder / shipped.name
    cut.write_bytes(cut.read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"^{cut}: no .safetensors file, or cut off"):
        load(str(folder))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that refuses every connection."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")


@pytest.mark.parametrize("name", LOADERS)
def test_without_a_network_one_sentence_says_how_to_get_a_model(name: str, no_network: None, empty_cache: Path) -> None:
    repository, load = LOADERS[name]
    started = time.monotonic()
    with pytest.raises(ValueError, match=f"run `hf download {repository}`") as caught:
        load()
    assert time.monotonic() - started < 5
    said = str(caught.value)
    assert f"{constants.ENDPOINT} cannot be reached" in said
    assert "HF_HOME" in said
    assert "path of a local folder" in said
    assert "\n" not in said


@pytest.mark.parametrize("name", LOADERS)
def test_where_the_person_forbids_the_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository, load = LOADERS[name]
    with pytest.raises(ValueError, match=f"HF_HUB_OFFLINE forbids to fetch it: run `hf download {repository}`"):
        load()


def test_the_processor_files_of_a_tspo_folder(no_network: None, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    write_blank_hf_clip(folder, seed=0)
    clip = TransformersCLIP(path=str(folder)).model
    with pytest.raises(ValueError, match=f"run `hf download {ID}`"):
        write_tspo_folder(clip, ID, {}, tmp_path / "out")


def test_a_hub_that_takes_the_call_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(ValueError, match="cannot be reached"):
            TransformersCLIP(path=ID)
        assert 3 < time.monotonic() - started < 6
        started = time.monotonic()
        with pytest.raises(ValueError, match="cannot be reached"):
            TransformersCLIP(path=ID)
        assert time.monotonic() - started < 1  # asked once


def test_what_is_in_the_cache_is_used_without_a_network(no_network: None, empty_cache: Path) -> None:
    model = empty_cache / "models--somebody--model"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("0" * 40)
    write_blank_hf_clip(model / "snapshots" / ("0" * 40), seed=0)
    started = time.monotonic()
    TransformersCLIP(path="somebody/model")
    assert time.monotonic() - started < 5
    (model / "snapshots" / ("0" * 40) / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"are not \(or not all\) in "):
        TransformersCLIP(path="somebody/model")


def test_a_local_folder_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_answers", lambda: pytest.fail("the hub was asked"))
    write_blank_hf_clip(tmp_path / "clip", seed=0)
    TransformersCLIP(path=str(tmp_path / "clip"))
    shutil.rmtree(tmp_path / "clip")


def test_an_error_of_the_system_is_handed_on(no_network: None) -> None:
    with pytest.raises(OSError, match="No space left"), fetching(ID):
        raise OSError(28, "No space left on device")
    with pytest.raises(RuntimeError, match="out of memory"), fetching(ID):
        raise RuntimeError("out of memory")


def test_a_hub_that_answers_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(503)

        def log_message(self, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Nothing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(OSError, match="gated"), fetching(ID):
            raise OSError("gated")
        assert hub._hindrance() == ""
        assert not constants.HF_HUB_OFFLINE
        server.shutdown()
        thread.join()
