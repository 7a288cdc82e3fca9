"""Whether two runs are the same to the last bit: everything that a run leaves, but for clocks and its own name."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

_WITH_A_CLOCK = ("environment.json", "mlflow_run_id", "costs.json")
_SECONDS = re.compile(rb'"seconds": \{[^}]*\}')  # of each answer's cost
_NAME = "THIS_RUN"


def differences(expected: Path, found: Path) -> list[str]:
    """What differs between two run folders; each has its ``outputs/mlflow.db`` two folders above it.

    Compared are the names of all files, the bytes of every one but checkpoints and pictures of training, every leaf of
    the last checkpoint (weights, moments, counters, callbacks), where links lead, and every metric in MLflow.
    """
    one, two = _files(expected), _files(found)
    extra = {f"checkpoints/{path.name}" for path in superseded_checkpoints(found)}
    out = [f"{name}: only in one" for name in sorted((one.keys() ^ two.keys()) - extra)]
    out += [f"{name}: differs" for name in sorted(one.keys() & two.keys()) if one[name] != two[name]]
    last = Path("checkpoints") / "last.ckpt"
    out += _different_leaves(dict(_leaves(expected, expected / last)), dict(_leaves(found, found / last)), last.name)
    return out + _different_metrics(_metrics(expected), _metrics(found))


def superseded_checkpoints(run_dir: Path) -> list[Path]:
    """Whole checkpoints beside the last one: a run that is killed right after a save has not removed the one before."""
    folder = run_dir / "checkpoints"
    last = folder / "last.ckpt"
    return [path for path in folder.glob("*.ckpt") if not path.is_symlink() and not path.samefile(last)]


def _files(run_dir: Path) -> dict[str, str]:
    """A digest of each file's bytes, or where it leads; the run's own name taken out of texts."""
    found = {}
    for path in sorted(p for p in run_dir.rglob("*") if p.is_file() or p.is_symlink()):
        name = str(path.relative_to(run_dir))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.suffix == ".ckpt" or path.name in _WITH_A_CLOCK:
            found[name] = ""
        else:
            content = _without_its_own(run_dir, path.read_bytes())
            found[name] = hashlib.sha256(content).hexdigest()
    return found


def _without_its_own(run_dir: Path, content: bytes) -> bytes:
    """What a run leaves without its own name, its name in MLflow, and how long answers took."""
    for own in (str(run_dir.absolute()), f"{run_dir.parent.name}/{run_dir.name}", _mlflow_run(run_dir)):
        content = content.replace(own.encode(), _NAME.encode())
    content = _SECONDS.sub(b"", content)
    return content.replace(f"run_id: {_NAME}".encode(), b"run_id: null")  # a resumed run knows its own


def _leaves(run_dir: Path, path: Path) -> Iterator[tuple[str, Any]]:
    def walk(where: str, node: Any) -> Iterator[tuple[str, Any]]:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else None
        if items is None:
            yield where, _without_its_own(run_dir, node.encode()).decode() if isinstance(node, str) else node
            return
        for key, value in items:
            yield from walk(f"{where}.{key}", value)

    yield from walk("", torch.load(path, map_location="cpu", weights_only=True))


def _different_leaves(one: dict[str, Any], two: dict[str, Any], title: str) -> list[str]:
    out = [f"{title}{name}: only in one" for name in sorted(one.keys() ^ two.keys())]
    for name in sorted(one.keys() & two.keys()):
        a, b = one[name], two[name]
        same = torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else repr(a) == repr(b)
        if not same:
            out.append(f"{title}{name}: differs" if isinstance(a, torch.Tensor) else f"{title}{name}: {a!r} and {b!r}")
    return out


def _mlflow_run(run_dir: Path) -> str:
    return (run_dir / "mlflow_run_id").read_text().strip()


def _metrics(run_dir: Path) -> Counter[tuple[str, int, float]]:
    """How often each (metric, step, value) is in MLflow; without the seconds of things."""
    with sqlite3.connect(run_dir.parent.parent / "mlflow.db") as db:
        rows = db.execute(
            "select key, step, value, is_nan from metrics where run_uuid = ?", (_mlflow_run(run_dir),)
        ).fetchall()
    db.close()
    return Counter(
        (key, step, "nan" if nan else value) for key, step, value, nan in rows if not key.startswith("time/")
    )


def _different_metrics(one: Counter, two: Counter) -> list[str]:
    out = [
        f"MLflow lacks {key} at step {step}: {value}" for key, step, value in sorted(one.keys() - two.keys(), key=str)
    ]
    out += [
        f"MLflow has another {key} at step {step}: {value}"
        for key, step, value in sorted(two.keys() - one.keys(), key=str)
    ]
    return out


def doubled_metrics(run_dir: Path) -> int:
    """Points that MLflow has more than once; it keeps what a killed run has sent, and a resumed one sends it again."""
    return sum(number - 1 for number in _metrics(run_dir).values())
