"""How long commands take from the first key to the prompt: seconds by the clock and of the processor.

    python tests/benchmarks/start_up.py
    python tests/benchmarks/start_up.py --against ../before      # another working copy, run by turns with this one

Each command runs in a process of its own, from a folder that holds a video of 90 s, the answers of two systems to 500
questions, and their selections. Median of ``--repeats``; the runs of the two copies alternate, so that a load that
comes and goes meets both. Seconds of the processor are user and system time of the process and its children.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "ls": "ls",
    "--help": "--help",
    "run --help": "run --help",
    "run tspo.yaml --help": "run recipes/tspo.yaml --help",
    "check tspo.yaml": "check recipes/tspo.yaml",
    "check msjoe.yaml, overlay zero3": "check recipes/msjoe.yaml --overlay recipes/overlays/zero3.yaml",
    "check eval/haystack.yaml": "check recipes/eval/haystack.yaml --checkpoint null",
    "score": "score answers.jsonl",
    "compare": "compare answers.jsonl answers.jsonl --system-a uniform --system-b sampler",
    "export": "export chosen.parquet --sampler sampler --format json --out frames.json",
    "ask, video of 90 s": "run recipes/ask.yaml --checkpoint null --video video.mp4 --question Who? --options a,b",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another working copy")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", help="commands whose names have this in them")
    options = parser.parse_args()
    copies = [copy.resolve() for copy in ([options.against] if options.against else [])] + [ROOT]
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        print("| command | " + " | ".join(f"{commit(copy)}: clock s | processor s" for copy in copies) + " |")
        print("|---" * (1 + 2 * len(copies)) + "|")
        for label, words in COMMANDS.items():
            if options.only is None or options.only in label:
                print(
                    f"| {label} | " + " | ".join(measured(words.split(), copies, options.repeats, Path(name))) + " |",
                    flush=True,
                )


def measured(words: list[str], copies: list[Path], repeats: int, folder: Path) -> list[str]:
    """Cells of a row: for each working copy the medians of both kinds of seconds."""
    found: dict[Path, list[tuple[float, float]]] = {copy: [] for copy in copies}
    for _ in range(1 + repeats):  # the first fills the file cache and is not counted
        for copy in copies:
            found[copy].append(seconds_of(words, copy, folder))
    return [f"{statistics.median(column):.2f}" for copy in copies for column in zip(*found[copy][1:], strict=True)]


def seconds_of(words: list[str], copy: Path, folder: Path) -> tuple[float, float]:
    """By the clock and of the processor, of one run, which has to end well."""
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "recipes", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )
    clock, after = time.perf_counter() - started, os.times()
    if done.returncode:
        sys.exit(f"{copy}: lightning {' '.join(words)} ended with {done.returncode}: {done.stderr[-1000:]}")
    used = (after.children_user - before.children_user) + (after.children_system - before.children_system)
    return clock, used


def commit(copy: Path) -> str:
    words = ["git", "-C", str(copy), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def prepare(folder: Path) -> None:
    """Writes what the commands read."""
    sys.path.insert(0, str(ROOT))
    from datamodules.haystack.video_writing import write_video
    from datamodules.haystack.world import World
    from modules.evaluation.answer_files import Answered, write_answers
    from modules.records import Answer
    from modules.selection.selection_files import write_selections
    from modules.selection.selection_row import SelectionRow

    write_video(folder / "video.mp4", World(duration_s=90.0), "test", 0)
    answers, rows = [], []
    for number in range(500):
        names = ("made", "test", f"q{number}", f"v{number // 10}.mp4")
        for system, right in (("uniform", number % 3 == 0), ("sampler", number % 2 == 0)):
            scores = (-0.1, -2.4) if right else (-2.4, -0.1)
            answers.append(Answered(Answer(*names, system, "Which?", ("one", "two"), 0, option_log_probs=scores)))
            rows.append(SelectionRow(*names, system, tuple(range(0, 80, 10)), tuple(map(float, range(8)))))
    write_answers(folder / "answers.jsonl", answers)
    write_selections(folder / "chosen.parquet", rows)


if __name__ == "__main__":
    main()
