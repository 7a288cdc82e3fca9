"""Recipes of strangers, through `lightning check` and `lightning run`: refused in sentences, in time, running nothing.

`QUICK` ones are refused before a class is looked at; the others need Kairos' own classes for it.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from recipes.jobs.sweep import Sweep, Variant
from recipes.launcher.cli import main
from recipes.launcher.guard import ROOT

TSPO = f"base: {ROOT}/recipes/tspo.yaml\n"
CALLBACK = "modules.rewards.accuracy.Accuracy"


def doublings(levels: int, value: str) -> str:
    """`a0` holds `a1` twice, and so on."""
    lines = [f"  a{n}: {value.format(f'${{vars.a{n + 1}}}')}" for n in range(levels)]
    return TSPO + "vars:\n" + "\n".join([*lines, f"  a{levels}: x"]) + "\nname: ${vars.a0}\n"


def laughs(levels: int) -> str:
    """A billion laughs: each anchor holds the one before nine times."""
    lines = ["a0: &a0 [lol]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels))]
    return "\n".join(lines) + "\n"


# name: what the file holds, and a part of what is said about it
QUICK: dict[str, tuple[str | bytes | Callable[[Path], None], str]] = {
    # files that are no recipe
    "empty": ("", "mapping"),
    "list": ("- a\n- b\n", "mapping"),
    "text": ("just words", "mapping"),
    "number": ("12", "mapping"),
    "binary": (bytes(range(256)), "not text in UTF-8"),
    "utf16": ("model: x\n".encode("utf-16"), "not text in UTF-8"),
    "nul": (b"model: a\x00b\n", "not YAML"),
    "control characters": ("model: \x1b[31mred\n", "not YAML"),
    "a bell and a backspace": (b"name: a\x07\x08\n", "not YAML"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(100), "not text in UTF-8"),
    "no YAML": ("a: [1, 2\nb: }\n", "not YAML"),
    "tabs": ("a:\n\tb: 1\n", "not YAML"),
    "two documents": ("a: 1\n---\nb: 2\n", "not YAML"),
    "folder": (lambda path: path.mkdir(), "folders, devices and pipes"),
    "pipe": (lambda path: os.mkfifo(path), "folders, devices and pipes"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "folders, devices and pipes"),
    "terminal": (lambda path: path.symlink_to("/dev/tty"), "folders, devices and pipes"),
    "link to itself": (lambda path: path.symlink_to(path.name), "no such file"),
    "100 MiB": (lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 100 << 20), "longer than"),
    # bombs
    "billion laughs": (laughs(40), "anchors written out"),
    "quadratic anchors": ("a: &a [" + "x, " * 3000 + "x]\nb: [" + "*a, " * 3000 + "*a]\n", "anchors written out"),
    "merge bomb": ("a: &a {x: 1}\n" + "".join(f"b{n}: &b{n} {{<<: *a}}\n" for n in range(4000)), "anchors written out"),
    "anchor in itself": ("a: &a [*a]\n", "not YAML"),
    "mapping in itself": ("a: &a {b: *a}\n", "not YAML"),
    "deep lists": ("a: " + "[" * 20_000, "levels deep"),
    "deep mappings": ("a: " + "{b: " * 10_000, "levels deep"),
    "deep by indent": ("\n".join(" " * n + "a:" for n in range(600)), "levels deep"),
    "deep by anchors": ("a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 100)), "levels deep"),
    "many keys": ("".join(f"k{n}: 1\n" for n in range(20_000)), "values"),
    "long number": ("seed_everything: " + "9" * 5000 + "\n", "beyond 64 bits"),
    "long hexadecimal number": ("seed_everything: 0x" + "f" * 5000 + "\n", "beyond 64 bits"),
    # tags and keys
    "python object": ("model: !!python/object/apply:os.system ['touch {canary}']\n", "is a tag"),
    "python name": ("model: !!python/name:os.system\n", "is a tag"),
    "python module": ("model: !!python/module:antigravity\n", "is a tag"),
    "binary tag": ("model: !!binary aGVsbG8=\n", "is a tag"),
    "set tag": ("model: !!set {a, b}\n", "is a tag"),
    "own tag": ("model: !include /etc/passwd\n", "is a tag"),
    "number as key": ("1: x\n", "is no text"),
    "null as key": ("null: x\n", "is no text"),
    "list as key": ("? [a, b]\n: x\n", "is no text"),
    "mapping as key": ("{a: 1}: x\n", "is no text"),
    "key twice": ("name: a\nname: b\n", "is there twice"),
    "unknown tagged float": ("vars: {x: !!float many}\n", "not YAML"),
    # bases
    "base is itself": (lambda path: path.write_text(f"base: {path.name}\n"), "a ring"),
    "base in a ring": (
        lambda path: [
            path.write_text("base: other.yaml\n"),
            path.with_name("other.yaml").write_text(f"base: {path}\n"),
        ],
        "a ring",
    ),
    "base is a list of nothing": ("base: [a.yaml, b.yaml]\n", "no such file"),
    "base is no name": ("base: [{a: b}]\n", "is not the name of a file"),
    "base is the recipe, in a list": (
        lambda path: path.write_text(f"base: [{ROOT}/recipes/base/training.yaml, {path.name}]\n"),
        "a ring",
    ),
    "base goes on and on": (
        lambda path: [
            path.with_name(name).write_text(f"base: {n + 1}.yaml\n")
            for n, name in enumerate([path.name, *(f"{n}.yaml" for n in range(1, 40))])
        ],
        "more than 20 files",
    ),
    "callbacks by name and by number": (
        TSPO + "trainer: {callbacks: {0: {init_args: {every_n_train_steps: 2}}}}\n",
        "is no text",
    ),
    "a callback by name from elsewhere": (
        TSPO + "trainer: {callbacks: {timeline: subprocess.Popen}}\n",
        "in no known package",
    ),
    "base is a device": ("base: /dev/zero\n", "folders, devices and pipes"),
    "base is a secret": ("base: /etc/passwd\n", "recipe"),
    "base has a NUL": ('base: "a\\0b"\n', "no such file"),
    "base is long": (f"base: {'x' * 5000}\n", "no such file"),
    # references
    "reference to itself": ("vars: {a: '${vars.a}'}\n", "leads back to itself"),
    "references in a ring": ("vars: {a: '${vars.b}', b: '${vars.c}', c: '${vars.a}'}\n", "leads back to itself"),
    "reference to what holds it": ("vars: {a: {b: '${vars}'}}\n", "leads back to itself"),
    "reference through a ring": ("vars: {a: '${vars.b.x}', b: '${vars.a}'}\n", "leads back to itself"),
    "long chain": (
        "vars: {" + ", ".join(f"a{n}: '${{vars.a{n + 1}}}'" for n in range(200)) + ", a200: x}\n",
        "chain of more",
    ),
    "many chains": ("vars: {x: 1, " + ", ".join(f"a{n}: '${{vars.x}}'" for n in range(3000)) + "}\n", "values with"),
    "doubling texts": (doublings(40, "{0}{0}"), "values and characters"),
    "doubling lists": (doublings(12, '["{0}", "{0}", "{0}"]'), "values and characters"),
    "nested references": ("vars: {a: b, b: c}\nname: '${vars.${vars.a}}'\n", "is no reference"),
    "environment": ("name: ${oc.env:HOME}\n", "environment variables are not read"),
    "environment within": ("vars: {url: 'http://x/${oc.env:OPENAI_API_KEY}'}\n", "environment variables are not read"),
    "decoding": ("vars: {x: '${oc.decode:${oc.env:HOME}}'}\n", "is no reference"),
    "unclosed": ("name: '${vars.x'\n", "is no reference"),
    "many references": ("vars: {x: 1}\nname: '" + "${vars.x}" * 5000 + "'\n", "4096 at most"),
    # classes from elsewhere
    "os.system as model": (
        "model: {class_path: os.system, init_args: {command: 'touch {canary}'}}\ndata: {}\n",
        "in no known package",
    ),
    "Popen as callback": (
        TSPO + "trainer: {callbacks: [{class_path: subprocess.Popen, init_args: {args: [touch, '{canary}']}}]}\n",
        "in no known package",
    ),
    "Popen by its path": (TSPO + "trainer: {callbacks: [subprocess.Popen]}\n", "in no known package"),
    "eval as data": ("data: {class_path: builtins.eval}\nmodel: {}\n", "in no known package"),
    "a module that runs": (TSPO + "model: {class_path: antigravity.Fly}\n", "in no known package"),
    "torch's loader": (TSPO + "trainer: {logger: {class_path: torch.load}}\n", "in no known package"),
    "jsonargparse itself": (TSPO + "model: {class_path: jsonargparse.set_parsing_settings}\n", "in no known package"),
    "no dots": (TSPO + "model: {class_path: Popen}\n", "is no path of a class"),
    "empty path": (TSPO + "model: {class_path: ''}\n", "is no path of a class"),
    "path with a slash": (TSPO + "model: {class_path: ../../evil.Model}\n", "is no path of a class"),
    "relative path": (TSPO + "model: {class_path: .evil.Model}\n", "is no path of a class"),
    "path of underscores": (TSPO + "model: {class_path: 'a..b'}\n", "is no path of a class"),
    "job of the standard library": (
        "job: {class_path: subprocess.Popen, init_args: {args: [touch, '{canary}']}}\n",
        "in no known package",
    ),
    "job by its path": ("job: os.abort\n", "in no known package"),
    "infinite seed": (TSPO + "seed_everything: .inf\n", "not finite"),
    "infinite duration": (TSPO + "data: {init_args: {world: {duration_s: .inf}}}\n", "not finite"),
    "duration that overflows": (TSPO + "data: {init_args: {world: {duration_s: 1e999}}}\n", "not finite"),
    "duration that is no number": (TSPO + "data: {init_args: {world: {duration_s: .nan}}}\n", "not finite"),
}
SLOW: dict[str, tuple[str, str]] = {
    # keys at the top
    "name leaves outputs": (TSPO + "name: ../../../tmp/x\n", "names a folder"),
    "absolute name": (TSPO + "name: /tmp/x\n", "names a folder"),
    "name of 300 characters": (TSPO + f"name: {'x' * 300}\n", "names a folder"),
    "one long line": ("name: " + "x" * 200_000, "names a folder"),
    "name is a mapping": (TSPO + "name: {a: b}\n", "names a folder"),
    "unhashable stage": ("stage: [{a: b}]\nmodel: {}\ndata: {}\n", "is none of fit"),
    "stage is a class": (TSPO + "stage: __init__\n", "is none of fit"),
    "negative seed": (TSPO + "seed_everything: -1\n", "seed_everything"),
    "shortcuts are a list": (TSPO + "shortcuts: [a]\n", "shortcuts"),
    "trainer is a list": (TSPO + "trainer: [1]\n", "does not go together"),
    "model is a list": (TSPO + "model: [1, 2]\n", "model: needs a class_path of a LightningModule"),
    "data is null": (TSPO + "data: null\n", "data: needs a class_path of a LightningDataModule"),
    "a function of ours": (TSPO + "model: {class_path: modules.parsing.parse_option}\n", "is no class"),
    "what our module imports": (TSPO + "model: {class_path: modules.files.paths.Path}\n", "in no known package"),
    "a module of our module": (TSPO + "model: {class_path: modules.mllms.openai.os}\n", "is no class"),
    "a client of our module": (TSPO + "model: {class_path: modules.records.Tensor}\n", "in no known"),
    "a callback as model": (TSPO + "model: {class_path: callbacks.watchdog.Watchdog}\n", "is not a LightningModule"),
    "a job as data": (TSPO + "data: {class_path: recipes.jobs.inspect.Inspect}\n", "is not a LightningDataModule"),
    "a base class": (
        TSPO + "model: {init_args: {sampler: {class_path: modules.selection.base.FrameSampler}}}\n",
        "base class",
    ),
    "a reward that is a function": (
        TSPO + "model: {init_args: {rewards: {own: {reward: os.system}}}}\n",
        "in no known package",
    ),
    "a sampler by its path": (TSPO + "model: {init_args: {sampler: subprocess.Popen}}\n", "in no known package"),
    "a policy that is a function": (
        TSPO + "model: {init_args: {sampler: {init_args: {policy: os.system}}}}\n",
        "in no known package",
    ),
    "a policy of another kind": (
        TSPO + f"model: {{init_args: {{sampler: {{init_args: {{policy: {CALLBACK}}}}}}}}}\n",
        "is not a PlackettLuce",
    ),
    "functions as callbacks": (
        TSPO + "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.LambdaCallback, init_args: "
        "{on_fit_start: os.getcwd}}]}\n",
        "on_fit_start: 'os.getcwd' is not Callable",
    ),
    "a callback by name that is none": (
        TSPO + "trainer: {callbacks: {timeline: {class_path: modules.rewards.accuracy.Accuracy}}}\n",
        "is not a Callback",
    ),
    "a callback by its module": (TSPO + "trainer: {callbacks: [lightning.pytorch.callbacks.timer]}\n", "is no class"),
    "callbacks from a file": (TSPO + "trainer: {callbacks: list.yaml}\n", "in no known package"),
    "settings from a file": (TSPO + "model: {init_args: {grpo: grpo.yaml}}\n", "in no known package"),
    "strategy from elsewhere": (TSPO + "trainer: {strategy: os.system}\n", "in no known package"),
    "profiler from elsewhere": (TSPO + "trainer: {profiler: cProfile.run}\n", "in no known package"),
    "texts as numbers": (
        TSPO + "data: {init_args: {world: {duration_s: '.inf'}}}\n",
        "is text where a number is wanted",
    ),
    "a mapping as number": (TSPO + "model: {init_args: {num_frames: {a: 1}}}\n", "num_frames: a mapping is not"),
    "a list as number": (TSPO + "model: {init_args: {num_frames: [1]}}\n", "num_frames: a list is not"),
    "huge number": (TSPO + "model: {init_args: {num_frames: 9223372036854775808}}\n", "beyond 64 bits"),
    "arguments are text": (TSPO + "model: {init_args: all}\n", "model"),
    "class_path is a mapping": (TSPO + "model: {class_path: {a: b}}\n", "model"),
    "class_path is null": (TSPO + "model: {class_path: null}\n", "model"),
    "checkpoint anywhere": (TSPO + "checkpoint: 'last:../../**'\n", "takes the name of a recipe"),
    "checkpoint from the root": (TSPO + "checkpoint: 'last:/'\n", "takes the name of a recipe"),
    "a device as prompt": (
        TSPO + "model: {init_args: {mllm: {init_args: {prompt: {template: /dev/zero}}}}}\n",
        "template '/dev/zero': no such file",
    ),
    "a secret as prompt": (
        TSPO + "model: {init_args: {mllm: {init_args: {prompt: {template: /etc/passwd}}}}}\n",
        "has no {question}",
    ),
    "a kernel of the hub": (
        TSPO + "model: {init_args: {mllm: {init_args: {loading: {attn_implementation: some/kernel}}}}}\n",
        "attn_implementation: 'some/kernel'",
    ),
    "a variable of the environment as key": (
        TSPO + "model: {init_args: {mllm: {class_path: modules.mllms.openai.OpenAIChat, init_args: "
        "{model: m, base_url: 'http://evil', api_key_variable: AWS_SECRET_ACCESS_KEY}}}}\n",
        "_API_KEY",
    ),
}


def write(folder: Path, content: str | bytes | Callable[[Path], None]) -> Path:
    """The recipe's file, in a folder that also holds code that would leave a trace."""
    path, canary = folder / "stranger.yaml", folder / "canary"
    for module in ("evil", "other"):
        (folder / f"{module}.py").write_text(f"open({str(canary)!r}, 'w')\nclass Model: pass\n")
    for name in ("list.yaml", "grpo.yaml"):
        (folder / name).write_text("class_path: evil.Model\n")
    if callable(content):
        content(path)
    else:
        text = content if isinstance(content, bytes) else content.replace("{canary}", str(canary)).encode()
        path.write_bytes(text)
    return path


def refused(command: str, path: Path) -> str:
    """What a command says of a recipe; it ends with status 1 and a sentence a mistake."""
    with pytest.raises(SystemExit) as end:
        main([command, str(path)])
    said = str(end.value)
    assert said.startswith("error: "), said
    assert not (path.parent / "canary").exists(), "code of the recipe ran"
    assert len(said.splitlines()) <= 60
    assert max(map(len, said.splitlines())) <= 900
    return said


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("name", QUICK)
def test_refused_before_a_class_is_looked_at(name: str, command: str, tmp_path: Path, monkeypatch) -> None:
    content, message = QUICK[name]
    path = write(tmp_path, content)
    monkeypatch.chdir(tmp_path)
    gc.freeze()  # what other tests have left is not looked through while this one is timed
    started = time.process_time()
    said = refused(command, path)
    assert time.process_time() - started < 1.5
    assert message in said


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("name", SLOW)
def test_refused_before_anything_is_built(name: str, command: str, tmp_path: Path, monkeypatch) -> None:
    content, message = SLOW[name]
    path = write(tmp_path, content)
    monkeypatch.chdir(tmp_path)
    assert message in refused(command, path)


@pytest.mark.parametrize(
    ("mllm", "message"),
    [
        ({"class_path": "evil.Model"}, "in no known package"),
        ("os.system", "in no known package"),
        ({"class_path": "modules.mllms.openai.OpenAIChat", "init_args": {"model": "m"}}, "is not a TransformersMLLM"),
        (None, "needs a class_path of a TransformersMLLM"),
    ],
    ids=str,
)
def test_a_strangers_run_folder_names_no_class_of_its_own(mllm, message: str, tmp_path: Path, monkeypatch) -> None:
    path = write(tmp_path, json.dumps({"model": {"init_args": {"mllm": mllm}}}))
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    path.rename(run / "recipe.yaml")
    torch.save({"state_dict": {"mllm.model.x": torch.zeros(1)}}, run / "checkpoints" / "last.ckpt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SystemExit, match=message):
        main(["consolidate", str(run / "checkpoints" / "last.ckpt"), str(tmp_path / "out")])
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("key", ["user-dir", "model.x --user-dir", "", "a..b"])
def test_a_sweep_hands_on_keys_alone(key: str) -> None:
    with pytest.raises(ValueError, match="is no dotted key of a recipe"):
        Variant(recipe="recipes/tspo.yaml", overrides={key: "x"})
    with pytest.raises(ValueError, match="can be no name of a folder"):
        Sweep(variants={"../../x": Variant(recipe="r.yaml")}, reference="../../x", seeds=[0], out="o")


_ALL_QUICK = """
import json, sys, time
from recipes.launcher.cli import main
seconds = {}
for path in sys.argv[1:]:
    started = time.process_time()
    try:
        main(["check", path])
    except SystemExit as end:
        assert str(end.code).startswith("error: ")
    seconds[path] = time.process_time() - started
print(json.dumps({"torch": "torch" in sys.modules, "seconds": seconds}))
"""


def test_quick_ones_take_a_second_and_no_torch(tmp_path: Path) -> None:
    paths = []
    for n, (content, _) in enumerate(QUICK.values()):
        folder = tmp_path / str(n)
        folder.mkdir()
        paths.append(str(write(folder, content)))
    words = [sys.executable, "-c", _ALL_QUICK, *paths]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    slowest = max(found["seconds"], key=found["seconds"].get)
    assert found["seconds"][slowest] < 1.5, (
        f"{list(QUICK)[int(Path(slowest).parent.name)]}: {found['seconds'][slowest]:.1f} s"
    )
    assert not found["torch"]
