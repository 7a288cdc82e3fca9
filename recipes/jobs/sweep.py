"""Several recipes in several variants and seeds, one after another, into one table with paired comparisons.

Each run is ``lightning run`` of its own and lies in a folder of its own; one that is finished is not run again, so a
sweep that was cut off goes on where it stopped. Two sweeps at work on the same folders wait for one another's runs.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from modules.console import PlainConsole
from modules.files.file_names import file_name, file_names
from modules.files.paths import InputPath
from recipes.jobs.base import Job
from recipes.jobs.sweep_report import Runs, accuracies, accuracy_table, by_kind, draw_curves, kind_table

_KEY = re.compile(r"[A-Za-z_]\w*(\.\w+)*")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of the table.

    Args:
        recipe: file.
        overrides: ``key: value`` over it; ``{out}`` and ``{seed}`` are filled in, so that a variant can name another's
            checkpoint: ``{out}/stage1_s{seed}/checkpoints/last.ckpt``.
        overlays: more files.
        system: of the run's test, which is shown.
    """

    recipe: InputPath
    overrides: dict[str, Any] = field(default_factory=dict)
    overlays: list[str] = field(default_factory=list)
    system: str = "after"

    def __post_init__(self) -> None:
        wrong = [key for key in self.overrides if not _KEY.fullmatch(key)]
        if wrong:  # --user-dir, say, which is a person's to give
            raise ValueError(f"overrides: {wrong[0]!r:.100} is no dotted key of a recipe")


class Sweep(Job):
    """Runs a recipe in several variants and with several seeds, and puts their results into one table.

    Args:
        variants: by name, in the order they run; a later one may start from an earlier one's checkpoint.
        shown: rows of the table: name of the row, and ``[variant, system]`` of it; by default each variant with its
            own system.
        reference: the row that others are compared with.
        curves: metrics of the runs' ``curve.csv`` that are drawn side by side.
        seeds: of every variant.
        out: folder of the runs.
    """

    def __init__(
        self,
        *,
        variants: dict[str, Variant],
        shown: dict[str, tuple[str, str]] | None = None,
        reference: str,
        seeds: list[int],
        out: str,
        curves: list[str] | None = None,
    ) -> None:
        file_names(variants)  # none of which may be another's folder
        if wrong := [name for name in variants if file_name(name) != name]:
            raise ValueError(f"variants: {wrong[0]!r:.100} can be no name of a folder")
        self.variants, self.seeds, self.out = variants, seeds, Path(out)
        self.shown = shown or {name: (name, v.system) for name, v in variants.items()}
        unknown = {variant for variant, _ in self.shown.values()} - variants.keys()
        if unknown or reference not in self.shown:
            raise ValueError(f"shown names {sorted(unknown) or [reference]}; there are {sorted(variants)}")
        self.reference = reference
        self.curves = curves or ["reward/accuracy", "policy/entropy_nats", "val/accuracy"]

    def run(self, run_dir: Path) -> None:
        for seed in self.seeds:
            for name in self.variants:
                self._run(name, seed)
        run_dir.mkdir(parents=True, exist_ok=True)
        runs = {row: self.runs(variant, system) for row, (variant, system) in self.shown.items()}
        table, kinds = accuracies(runs, self.reference), by_kind(runs)
        table.to_json(run_dir / "sweep.json", orient="records", indent=2)
        kinds.to_json(run_dir / "sweep_kinds.json", orient="records", indent=2)
        trained = {name: self.runs(name, variant.system) for name, variant in self.variants.items()}
        draw_curves(trained, self.curves, run_dir / "sweep_curves.png")
        console = PlainConsole(at_least=140)
        console.print(accuracy_table(table, self.reference, self.seeds))
        console.print(kind_table(kinds, "accuracy", "Right answers by kind of question"))
        console.print(kind_table(kinds, "evidence_repeated", "Frames in evidence that repeat what another one shows"))
        console.print(
            f"runs        {self.out}\nnumbers     {run_dir / 'sweep.json'}, {run_dir / 'sweep_kinds.json'}\n"
            f"curves      {run_dir / 'sweep_curves.png'}",
            soft_wrap=True,
        )

    def runs(self, variant: str, system: str) -> Runs:
        """One system of a variant, in all seeds."""
        return Runs({seed: self.folder(variant, seed) for seed in self.seeds}, system)

    def folder(self, variant: str, seed: int) -> Path:
        """Of one run."""
        return self.out / f"{variant}_s{seed}"

    def _run(self, name: str, seed: int) -> None:
        """One run, unless it is finished: by an earlier sweep, or by another one that is at work on it now."""
        folder = self.folder(name, seed)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "sweep.lock"):
            if not (folder / "test_summary.json").is_file():
                self._launch(name, seed, folder)

    def _launch(self, name: str, seed: int, folder: Path) -> None:
        variant = self.variants[name]
        words = [
            sys.executable,
            "-P",
            "-m",
            "recipes",
            "run",
            variant.recipe,
            "--run_dir",
            str(folder),
            "--resume",
            "auto",
        ]
        for file in variant.overlays:
            words += ["--overlay", file]
        for key, value in {"seed_everything": seed, **variant.overrides}.items():
            text = value if isinstance(value, str) else json.dumps(value)
            text = text.replace("{out}", str(self.out)).replace("{seed}", str(seed))
            words.append(f"--{key}={text}")  # one word, so that no value is taken for an option
        PlainConsole().print(f"running     {name}, seed {seed}; log {folder / 'log.txt'}", soft_wrap=True)
        with (folder / "log.txt").open("a") as log:
            status = _run_to_its_end(words, log)
        if status:
            tail = (folder / "log.txt").read_text()[-2000:]
            raise ValueError(
                f"{name} with seed {seed} ended with status {status}; {folder / 'log.txt'} ends with\n{tail}"
            )


def _run_to_its_end(words: list[str], log: IO[str]) -> int:
    """The status of a command. Where this process is stopped, the command is told to stop in order, and waited for.

    It has a process group of its own: a terminal's Ctrl-C would reach it too, and a second signal ends it at once.
    """
    process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, process_group=0)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
