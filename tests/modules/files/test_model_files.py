"""Model folders of strangers, through every loader: their code does not run, nobody is asked, no pickle is read."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modules.encoders.open_clip import OpenCLIPEncoder
from modules.encoders.siglip_patches import SiglipPatches
from modules.encoders.transformers_clip import TransformersCLIP
from modules.files.model_files import as_data
from modules.methods.refocus.question_prompt import QuestionPrompt
from modules.mllms.chat_template import render
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.shapes import config_of
from recipes.launcher.guard import ROOT

CODE = """
from pathlib import Path
Path({canary!r}).touch()
from transformers import *
class Tokenizer(PreTrainedTokenizerFast): pass
class Config(PretrainedConfig): model_type = "evil"
class Model(PreTrainedModel): config_class = Config
class Processor(ProcessorMixin): pass
class ImageProcessor(CLIPImageProcessor): pass
def generate(model, **kwargs): pass
"""
AUTO_MAP = {
    "AutoConfig": "evil.Config",
    "AutoModel": "evil.Model",
    "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"],
    "AutoProcessor": "evil.Processor",
    "AutoImageProcessor": "evil.ImageProcessor",
    "AutoVideoProcessor": "evil.ImageProcessor",
    "AutoModelForCausalLM": "evil.Model",
}


class Payload:
    """Leaves a trace where it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory) -> Path:
    from modules.small_stack.blank_families import write_blank_hf_clip

    folder = tmp_path_factory.mktemp("hf_clip")
    write_blank_hf_clip(folder, seed=0)
    return folder


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def change(path: Path, **more: Any) -> None:
    """More keys in a JSON file, which is made where there is none."""
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**content, **more}))


def with_code(origin: Path, folder: Path, canary: Path, classes: bool = True) -> Path:
    """A copy of a model's folder in which every settings file names code of its own.

    Args:
        classes: also say that only the code knows the classes.
    """
    shutil.copytree(origin, folder)
    (folder / "evil.py").write_text(CODE.format(canary=str(canary)))
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(CODE.format(canary=str(canary)))
    for name, kind in (
        ("config.json", {"model_type": "evil", "architectures": ["Model"]}),
        ("tokenizer_config.json", {"tokenizer_class": "Tokenizer"}),
        ("processor_config.json", {"processor_class": "Processor"}),
        ("preprocessor_config.json", {"image_processor_type": "ImageProcessor"}),
        ("video_preprocessor_config.json", {"video_processor_type": "ImageProcessor"}),
    ):
        change(folder / name, auto_map=AUTO_MAP, **(kind if classes else {}))
    return folder


def loaders() -> dict[str, tuple[str, Callable[[Path], Any]]]:
    return {
        "CLIP of transformers": ("clip_folder", lambda folder: TransformersCLIP(path=str(folder))),
        "CLIP of open_clip": ("blank_clip", lambda folder: OpenCLIPEncoder(model=f"local-dir:{folder}")),
        "SigLIP": ("clip_folder", lambda folder: SiglipPatches(path=str(folder))),
        "MLLM": ("blank_vlm", lambda folder: LlavaOnevision(path=str(folder))),
        "question's tokens": ("clip_folder", lambda folder: QuestionPrompt(tokenizer=str(folder))),
        "shapes for an estimate": ("clip_folder", lambda folder: config_of(str(folder))),
    }


@pytest.mark.parametrize("classes", [True, False], ids=["its classes", "its auto_map"])
@pytest.mark.parametrize("name", loaders())
def test_code_in_a_folder_does_not_run(name: str, classes: bool, canary: Path, tmp_path: Path, request) -> None:
    fixture, load = loaders()[name]
    folder = with_code(request.getfixturevalue(fixture), tmp_path / "model", canary, classes)
    with contextlib.suppress(ValueError, OSError, KeyError, AttributeError, RuntimeError):
        load(folder)
    assert not canary.exists()


@pytest.mark.parametrize(
    "kwargs",
    [{"trust_remote_code": True}, {"trust_remote_code": "yes"}, {"bpe_path": "/etc/passwd"}, {"code_revision": "x"}],
    ids=str,
)
def test_open_clips_tokenizer_arguments(kwargs: dict, blank_clip: Path, canary: Path, tmp_path: Path) -> None:
    folder = with_code(blank_clip, tmp_path / "clip", canary)
    settings = json.loads((folder / "open_clip_config.json").read_text())
    settings["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = kwargs
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"tokenizer_kwargs|trust_remote_code"):
        OpenCLIPEncoder(model=f"local-dir:{folder}")
    assert not canary.exists()


@pytest.mark.parametrize(
    ("part", "key", "name"),
    [
        ("text_cfg", "hf_model_name", "/etc"),
        ("text_cfg", "hf_model_name", "../elsewhere"),
        ("text_cfg", "hf_tokenizer_name", "~/x"),
        ("vision_cfg", "timm_model_name", "hf-hub:who/ever"),
        ("vision_cfg", "timm_model_name", ["a"]),
    ],
)
def test_open_clips_towers_from_elsewhere(part: str, key: str, name: Any, blank_clip: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(blank_clip, tmp_path / "clip")
    settings = json.loads((folder / "open_clip_config.json").read_text())
    settings["model_cfg"][part][key] = name
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=f"{key} .* is not the name of a published model"):
        OpenCLIPEncoder(model=f"local-dir:{folder}")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", {"attn_implementation": "who/kernel"}, "would fetch and run a kernel"),
        ("config.json", {"text_config": {"attn_implementation": "who/kernel"}}, "would fetch and run a kernel"),
        ("tokenizer_config.json", {"trust_remote_code": True}, "would run code"),
        ("adapter_config.json", {"base_model_name_or_path": "/etc"}, "an adapter of another model"),
        ("generation_config.json", {"deep": {"trust_remote_code": 1}}, "would run code"),
    ],
)
def test_settings_that_ask_for_code(file: str, content: dict, message: str, blank_vlm: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(blank_vlm, tmp_path / "vlm")
    change(folder / file, **content)
    with pytest.raises(ValueError, match=message):
        LlavaOnevision(path=str(folder))


def test_settings_that_are_no_settings(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    for content in (b"{", b"\xff\xfe", b"[" * 100_000, b"[1]" * 2):
        config.write_bytes(content)
        with pytest.raises(ValueError, match="is no JSON"):
            as_data(str(tmp_path))
    config.unlink()
    config.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="no plain file"):
        as_data(str(tmp_path))
    config.unlink()
    os.mkfifo(config)
    with pytest.raises(ValueError, match="no plain file"):
        as_data(str(tmp_path))


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "chat_template.jinja"])
@pytest.mark.parametrize("kind", ["pipe", "device", "link to nothing"])
def test_folders_with_what_is_no_file(file: str, kind: str, blank_vlm: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(blank_vlm, tmp_path / "vlm")
    (folder / file).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(folder / file)
    else:
        (folder / file).symlink_to("/dev/zero" if kind == "device" else "nowhere")
    with pytest.raises(ValueError, match="no plain file"):
        LlavaOnevision(path=str(folder))


@pytest.mark.parametrize("fixture", ["clip_folder", "blank_vlm", "blank_clip"])
def test_pickled_weights_are_not_read(fixture: str, canary: Path, tmp_path: Path, request) -> None:
    load = {"clip_folder": "CLIP of transformers", "blank_vlm": "MLLM", "blank_clip": "CLIP of open_clip"}[fixture]
    folder = shutil.copytree(request.getfixturevalue(fixture), tmp_path / "model")
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    for name in ("pytorch_model.bin", "open_clip_pytorch_model.bin", "model.pt"):
        (folder / name).write_bytes(pickle.dumps({"state_dict": Payload(canary)}))
    with pytest.raises((ValueError, OSError, pickle.UnpicklingError)):
        loaders()[load][1](folder)
    assert not canary.exists()


TEMPLATES = {
    "reaches out": ("{{ messages.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
    "reads a file": ("{% include '/etc/passwd' %}", "cannot be used"),
    "imports": ("{% import 'os' as os %}{{ os.system('id') }}", "cannot be used"),
    "endless": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "it takes more than",
    ),
    "a long range": ("{% for a in range(10 ** 9) %}{% endfor %}", "Range too big"),
    "calls itself": ("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
    "changes the messages": ("{{ messages.append(1) }}", "SecurityError"),
    "no template": ("{% for %}", "TemplateSyntaxError"),
    "too much": ("{% for a in range(99999) %}" + "x" * 200 + "{% endfor %}", "more than 10000000 characters"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_chat_templates(name: str, blank_vlm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template, message = TEMPLATES[name]
    folder = shutil.copytree(blank_vlm, tmp_path / "vlm")
    (folder / "chat_template.jinja").write_text(template)
    monkeypatch.setattr("modules.mllms.chat_template._MOST_S", 1.0)
    processor = LlavaOnevision(path=str(folder)).processor
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(ValueError, match=message):
        render(processor, [{"role": "user", "content": "x"}])
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_nobody_is_asked_at_a_terminal(clip_folder: Path, canary: Path, tmp_path: Path) -> None:
    folder = with_code(clip_folder, tmp_path / "model", canary)
    code = (
        "from modules.mllms.shapes import config_of\n"
        "from modules.methods.refocus.question_prompt import QuestionPrompt\n"
        f"for load in (config_of, lambda f: QuestionPrompt(tokenizer=f)):\n"
        f"    try: load({str(folder)!r})\n"
        "    except Exception as error: print('REFUSED', type(error).__name__, error)\n"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        close_fds=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    os.close(theirs)
    os.write(ours, b"y\ny\ny\n")  # whoever asked would be told yes
    said, started = b"", time.monotonic()
    while time.monotonic() - started < 90:
        if select.select([ours], [], [], 1.0)[0]:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other side has ended
                break
            said += part
        elif process.poll() is not None:
            break
    process.kill()
    process.wait()
    text = said.decode(errors="replace")
    assert "y/N" not in text
    assert text.count("REFUSED") == 2, text
    assert not canary.exists()
