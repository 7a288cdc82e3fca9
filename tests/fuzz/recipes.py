"""Mutates the recipes that come with Kairos, and puts each mutant through ``lightning check``.

    python tests/fuzz/recipes.py --count 3000 --seed 1

A mutant may be accepted or refused in sentences. It may not raise anything else, start a process, open a connection,
import or run a file that lies beside it, write a file, or take more CPU time than ``--limit-s``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect", "pty.spawn")
CLASSES = [
    "os.system",
    "subprocess.Popen",
    "builtins.exec",
    "evil.Model",
    "evil.Reward",
    "evil",
    "...",
    "",
    "a" * 5000,
    "modules.files.paths.Path",
    "modules.parsing.parse_option",
    "modules.selection.base.FrameSampler",
    "modules.nothing.Here",
    "modules.rewards.accuracy.Accuracy",
    "callbacks.watchdog.Watchdog",
    "recipes.launcher.cli.main",
    "torch.hub.load",
    "lightning.pytorch.callbacks.LambdaCallback",
    "lightning.pytorch.callbacks.Timer",
    "importlib.import_module",
]
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    10**18,
    10**30,
    0.5,
    float("inf"),
    float("nan"),
    "",
    "x",
    "???",
    ".inf",
    "1e999",
    "\0",
    "\x1b[2J",
    "\ud800",
    "${vars}",
    "${model}",
    "${oc.env:HOME}",
    "${model.init_args}",
    "${a.b.c}",
    "${",
    "${name}${name}",
    "/dev/zero",
    "../../../etc/passwd",
    "/etc",
    "~",
    "last:../../**",
    "y" * 10_000,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"a": {"b": []}},
    {"class_path": None},
    {"init_args": {}},
    {"class_path": ["a"]},
    {"class_path": "os.system", "init_args": {"command": "touch ran"}},
    [{"class_path": "evil.Model"}],
    {1: 2},
    {None: 1},
    list(range(300)),
]
KEYS = [
    "class_path",
    "init_args",
    "base",
    "job",
    "vars",
    "name",
    "stage",
    "run_dir",
    "checkpoint",
    "__class__",
    "",
    "a.b",
    "<<",
    "trainer",
    "shortcuts",
    "seed_everything",
    "overlay",
    "${vars}",
    "self",
    "callbacks",
    "template",
    "path",
    "weights",
]
EVIL = "open('ran', 'w')\nimport os\nos.system('touch ran')\nclass Model: pass\nReward = Model\n"


def main() -> int:
    """Mutates; 0 where every mutant behaved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="mutants (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first mutant; the next has the next (0)")
    parser.add_argument("--limit-s", type=float, default=5.0, help="CPU seconds of one check, classes imported (5)")
    parser.add_argument("--keep", type=Path, help="folder for the mutants that misbehaved")
    options = parser.parse_args()
    recipes = [r for r in sorted((ROOT / "recipes").rglob("*.yaml")) if "overlays" not in r.parts]
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("evil.py").write_text(EVIL)
        for recipe in recipes:  # imports what they name, which is not what is timed
            outcome_of(recipe, watch)
        counts, slowest, failures = Counter[str](), 0.0, []
        for seed in tqdm(range(options.seed, options.seed + options.count), desc="mutants"):
            rng = random.Random(seed)
            origin = rng.choice(recipes)
            mutant = mutate(origin.read_text(), rng, origin.parent)
            Path("mutant.yaml").write_bytes(mutant)
            started = time.process_time()
            outcome, said = outcome_of(Path("mutant.yaml"), watch)
            seconds = time.process_time() - started
            slowest = max(slowest, seconds)
            if outcome in ("accepted", "refused") and seconds > options.limit_s:
                outcome, said = "took too long", f"{seconds:.1f} s"
            counts[outcome] += 1
            if outcome not in ("accepted", "refused"):
                failures.append((seed, origin.name, outcome, said))
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{seed}.yaml").write_bytes(mutant)
    for seed, name, outcome, said in failures[:20]:
        tqdm.write(f"--seed {seed} --count 1  {name}  {outcome}: {said[-600:]}")
    tqdm.write(f"{'mutants':<16}{options.count:>8}   seeds {options.seed} to {options.seed + options.count - 1}")
    for outcome, count in sorted(counts.items()):
        tqdm.write(f"{outcome:<16}{count:>8}")
    tqdm.write(f"{'slowest':<16}{slowest:>8.2f} s of CPU time")
    return 1 if failures else 0


class Watch:
    """What Python itself reports of a check: processes, connections, files that are run or written."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.on = False
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event.startswith(FORBIDDEN):
            self.seen.append(f"{event} {arguments!r:.100}")
        elif event == "import" and str(arguments[0]).partition(".")[0] == "evil":
            self.seen.append(f"import {arguments[0]}")
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            own = "__pycache__" in str(arguments[0]) or str(arguments[0]).startswith("/dev/null")
            self.seen += [] if own else [f"write {arguments[0]!r:.100}"]


def outcome_of(recipe: Path, watch: Watch) -> tuple[str, str]:
    """What became of one check, and what it said."""
    from recipes.launcher.cli import main as lightning

    said = io.StringIO()
    watch.seen.clear()
    watch.on = True
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            lightning(["check", str(recipe)])
        outcome = "accepted"
    except SystemExit as end:
        outcome = "refused" if str(end.code).startswith("error: ") else "ended oddly"
        said.write(str(end.code))
    except BaseException:
        outcome = "traceback"
        said.write(traceback.format_exc())
    finally:
        watch.on = False
    if watch.seen:
        outcome = "did more than look"
        said.write("; ".join(watch.seen[:5]))
    return outcome, said.getvalue()


def mutate(text: str, rng: random.Random, folder: Path) -> bytes:
    """One to four mutations of a recipe: of its structure mostly, of its bytes now and then."""
    content = yaml.safe_load(text)
    if isinstance(content.get("base"), str):
        content["base"] = str(folder / content["base"])
    if rng.random() < 0.15:
        return of_bytes(yaml.safe_dump(content).encode(), rng)
    for _ in range(rng.randint(1, 4)):
        rng.choice(STRUCTURAL)(content, rng)
    try:
        return yaml.dump(content, allow_unicode=True, sort_keys=False).encode(errors="surrogatepass")
    except (yaml.YAMLError, RecursionError):  # a value that PyYAML cannot write
        return of_bytes(text.encode(), rng)


def of_bytes(text: bytes, rng: random.Random) -> bytes:
    """Flipped, cut, repeated or inserted bytes and lines."""
    data = bytearray(text)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(4)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at : at + rng.randint(1, 60)]
        elif kind == 2:
            data[at:at] = data[max(0, at - rng.randint(1, 200)) : at]
        else:
            data[at:at] = rng.choice(
                [
                    b"\0",
                    b"\t",
                    b"*a",
                    b"&a ",
                    b"<<: *a\n",
                    b"!!python/name:os.system ",
                    b"[" * 200,
                    b"{",
                    b"---\n",
                    b"${",
                    b": ",
                    b"\xff\xfe",
                    b"? ",
                    b"|\n",
                    b"  ",
                ]
            )
    return bytes(data)


def places(content: Any) -> list[tuple[Any, Any]]:
    """Every (container, key or index) in a recipe."""
    found, rest, known = [], [content], set()
    while rest:
        node = rest.pop()
        if not isinstance(node, dict | list) or id(node) in known:
            continue
        known.add(id(node))
        for key in node if isinstance(node, dict) else range(len(node)):
            found.append((node, key))
            rest.append(node[key])
    return found


def replace(content: Any, rng: random.Random) -> None:
    container, key = rng.choice(places(content) or [(content, "x")])
    container[key] = rng.choice(VALUES)


def other_class(content: Any, rng: random.Random) -> None:
    at = [(c, k) for c, k in places(content) if k == "class_path"] or places(content) or [(content, "x")]
    container, key = rng.choice(at)
    container[key] = rng.choice(CLASSES)


def delete(content: Any, rng: random.Random) -> None:
    if at := places(content):
        container, key = rng.choice(at)
        del container[key]


def rename(content: Any, rng: random.Random) -> None:
    at = [(c, k) for c, k in places(content) if isinstance(c, dict)]
    if at:
        container, key = rng.choice(at)
        container[rng.choice(KEYS)] = container.pop(key)


def insert(content: Any, rng: random.Random) -> None:
    at = [content, *(c[k] for c, k in places(content) if isinstance(c[k], dict))]
    rng.choice(at)[rng.choice(KEYS)] = rng.choice(VALUES)


def move(content: Any, rng: random.Random) -> None:
    at = places(content)
    if len(at) > 1:
        (one, key), (other, name) = rng.sample(at, 2)
        other[name] = one[key]  # may hold itself then, as anchors allow


def wrap(content: Any, rng: random.Random) -> None:
    if at := places(content):
        container, key = rng.choice(at)
        container[key] = rng.choice([[container[key]], {"class_path": container[key]}, {"a": container[key]}])


def retype(content: Any, rng: random.Random) -> None:
    if at := places(content):
        container, key = rng.choice(at)
        container[key] = str(container[key])[:2000]


STRUCTURAL: list[Callable[[Any, random.Random], None]] = [
    replace,
    replace,
    other_class,
    delete,
    rename,
    insert,
    move,
    wrap,
    retype,
]

if __name__ == "__main__":
    sys.exit(main())
