"""Steps of published shapes with random weights on this machine's card, beside the last ones of that card.

    python tests/benchmarks/gpu_step.py                         # writes docs/baselines/CARD.json
    python tests/benchmarks/gpu_step.py --device cpu --small --out build/baselines    # does the benchmark run?

Seconds by part, tokens a second, share of the card's peak, peak memory, and what `lightning check --memory --time` says
of the same step. A step that takes a tenth longer than the last one of that card ends it with status 1.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import gc
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "gpu"))
from cases import CASES
from steps import Measured, measure

from callbacks.provenance import environment

SLOWER = 1.1


def card_of(device: torch.device, small: bool) -> str:
    """The name of a file: of the card, or of the device where it is none; small steps are not compared with others."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    return "-".join(name.lower().split()) + "-small" * small


def measure_all(names: list[str], device: torch.device, small: bool, num_steps: int) -> dict[str, Measured]:
    """Every case in turn."""
    found = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            case = CASES[name].small() if small else CASES[name]
            found[name] = measure(case, Path(folder), device, num_steps)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        print(line(name, found[name]), flush=True)
    return found


def line(name: str, m: Measured) -> str:
    """One case in words."""
    parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in m.parts_s.items())
    told = [f"{name:<16} step {m.step_s:.2f} s ({parts})"]
    if m.tokens_per_s is not None and m.peak_share is not None:
        told.append(
            f"{m.tokens_per_s:,.0f} tokens/s, {100 * m.peak_share:.0f} % of the peak; estimated {m.estimated_s:.2f} s"
        )
    memory = "not told" if m.peak_memory_gib is None else f"{m.peak_memory_gib:.1f} GiB"
    return "; ".join([*told, f"peak memory {memory}, estimated {m.estimated_gib:.1f} GiB"])


def slower(now: dict[str, Measured], last: dict[str, Any]) -> list[str]:
    """Cases that take longer than they did, a sentence each; prints all comparisons."""
    found = []
    for name, measured in now.items():
        if name not in last:
            continue
        before = last[name]["step_s"]
        ratio = measured.step_s / before
        print(f"{name:<16} {ratio:.2f} times the last step of this card ({before:.2f} s)")
        if ratio > SLOWER:
            found.append(f"{name}: {measured.step_s:.2f} s, and it was {before:.2f} s")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="models of 0.2 M parameters, a few frames")
    parser.add_argument("--case", action="append", choices=CASES, help="instead of all; may be given several times")
    parser.add_argument("--steps", type=int, default=5, help="measured, after one more")
    parser.add_argument("--out", default="docs/baselines", help="folder")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("nothing is measured: PyTorch finds no CUDA device on this machine (--device cpu --small tries it out)")
        return
    file = Path(options.out) / f"{card_of(device, options.small)}.json"
    runs = json.loads(file.read_text()) if file.is_file() else []
    now = measure_all(options.case or list(CASES), device, options.small, options.steps)
    late = slower(now, runs[-1]["cases"]) if runs else []
    cases = {name: dataclasses.asdict(measured) for name, measured in now.items()}
    today = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    runs.append({"date": today, "environment": environment(), "cases": cases})
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(runs, indent=1) + "\n")
    print(f"written          {file}")
    if late:
        sys.exit("slower than the last time:\n" + "\n".join(late))


if __name__ == "__main__":
    main()
