"""``lightning submit``: a recipe as a SLURM job, through the scripts in ``recipes/launcher/slurm``."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from recipes.launcher.guard import ROOT
from recipes.launcher.runs import RUN_DIR_VARIABLE

WARN_BEFORE_S = 600  # a 7B checkpoint with Adam's moments is 91 GB: 3 minutes at 0.5 GB/s
_MOST_WARNING_S = 65535  # SLURM's own bound
_SCRIPTS = ROOT / "recipes" / "launcher" / "slurm"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """What a cluster has to know; everything else goes to the recipe."""
    command.add_argument("recipe", help="a YAML file")
    command.add_argument("--overlay", action="append", default=[], metavar="FILE", help="more YAML, merged over it")
    add_user_dir(command)
    command.add_argument("--nodes", type=int, default=1, help="nodes (1)")
    command.add_argument("--gpus", type=int, default=0, help="GPUs a node, one rank each; 0 trains on CPUs (0)")
    command.add_argument("--ranks", type=int, help="ranks a node, where they are no GPUs (1)")
    command.add_argument("--cpus", type=int, help="CPU cores a rank")
    command.add_argument("--time", metavar="HH:MM:SS", help="then it is saved, queued again and goes on (24:00:00)")
    command.add_argument(
        "--warn-before",
        type=int,
        default=WARN_BEFORE_S,
        metavar="SECONDS",
        help=f"before the time is up it is told to save; more than a save and an update take ({WARN_BEFORE_S})",
    )
    command.add_argument("--partition")
    command.add_argument("--account")
    command.add_argument("--name", help="of the job and its folder below outputs/slurm (name of the recipe's file)")
    command.add_argument("--array", type=int, metavar="N", help="N tasks that share the videos out, for extraction")
    command.add_argument(
        "--sbatch", action="append", default=[], metavar="OPTION", help="anything else, e.g. --sbatch=--qos=low"
    )
    command.add_argument("--dry-run", action="store_true", help="print the command and submit nothing")


def add_user_dir(command: argparse.ArgumentParser) -> None:
    """The folders that a person names; those of the recipe and its overlays need no naming."""
    command.add_argument(
        "--user-dir",
        action="append",
        default=[],
        metavar="DIR",
        help="a folder with classes of your own for the recipe",
    )


def sbatch_command(options: argparse.Namespace, overrides: list[str]) -> list[str]:
    """The ``sbatch`` call.

    Raises:
        ValueError: numbers that no job can have, or an array of a training.
    """
    for name in ("nodes", "ranks", "cpus", "array"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} {value}: at least 1")
    if options.gpus < 0:
        raise ValueError(f"--gpus {options.gpus}: 0 or more")
    if options.gpus and options.ranks and options.ranks != options.gpus:
        raise ValueError(f"--ranks {options.ranks}: there is one rank a GPU, and --gpus is {options.gpus}")
    if options.time and not re.fullmatch(r"(\d+-)?\d+(:\d{1,2}){0,2}", options.time):
        raise ValueError(f"--time {options.time!r}: HH:MM:SS, or D-HH:MM:SS")
    words = [f"--job-name={options.name or Path(options.recipe).stem}"]
    for name, value in (
        ("time", options.time),
        ("partition", options.partition),
        ("account", options.account),
        ("cpus-per-task", options.cpus),
    ):
        words += [f"--{name}={value}"] * (value is not None)
    if options.array is not None:
        if options.nodes > 1:
            raise ValueError("--array: its tasks are jobs of their own, so --nodes stays 1")
        words += [f"--array=0-{options.array - 1}", *[f"--gpus-per-node={options.gpus}"] * (options.gpus > 0)]
    else:
        words += [f"--nodes={options.nodes}", f"--ntasks-per-node={options.gpus or options.ranks or 1}"]
        words += [f"--gpus-per-node={options.gpus}"] * (options.gpus > 0)
        words += [f"--signal=B:USR1@{_warning_s(options)}"]
    overlays = [word for file in options.overlay for word in ("--overlay", file)]
    own = [word for folder in options.user_dir for word in ("--user-dir", folder)]
    return ["sbatch", *words, *options.sbatch, str(_script(options)), options.recipe, *own, *overlays, *overrides]


def _script(options: argparse.Namespace) -> Path:
    return _SCRIPTS / ("train.sbatch" if options.array is None else "array.sbatch")


def _warning_s(options: argparse.Namespace) -> int:
    """Seconds before the end at which a training is told.

    Raises:
        ValueError: SLURM knows no such number, or the whole job is shorter.
    """
    before = options.warn_before
    if not 1 <= before <= _MOST_WARNING_S:
        raise ValueError(f"--warn-before {before}: between 1 and {_MOST_WARNING_S} seconds")
    if options.time and seconds_of(options.time) <= before:
        raise ValueError(
            f"--warn-before {before}: --time {options.time} is {seconds_of(options.time)} s, so the run would be told "
            "to stop as it starts; ask for more time or for a later warning"
        )
    return before


def seconds_of(limit: str) -> int:
    """A time limit as SLURM reads it: ``M``, ``M:S``, ``H:M:S``, ``D-H``, ``D-H:M`` or ``D-H:M:S``."""
    days, dash, rest = limit.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if not dash and len(parts) < 3:
        parts = [0, *parts]
    hours, minutes, seconds = [*parts, 0, 0][:3]
    return ((24 * int(days or 0) + hours) * 60 + minutes) * 60 + seconds


def submit(options: argparse.Namespace, overrides: list[str]) -> str:
    """Hands the job in; what to say about it.

    Raises:
        ValueError: SLURM is not there, or does not take the job.
    """
    words = sbatch_command(options, overrides)
    if options.dry_run:
        return shlex.join(words)
    if shutil.which("sbatch") is None:
        raise ValueError(
            "there is no sbatch on this machine; --dry-run prints the command, to be run where there is one"
        )
    Path("outputs/slurm").mkdir(parents=True, exist_ok=True)  # SLURM writes no log into a folder that is not there
    # nodes run this very `lightning`, whether it is on their PATH or not
    own = Path(sys.executable).with_name("lightning")
    given = words[1 : words.index(str(_script(options)))]  # what the job that goes on after this one is handed in with
    env = {"KAIROS": str(own)} if own.is_file() else {}
    env |= {**os.environ, "KAIROS_SBATCH": shlex.join(given)}
    env.pop(RUN_DIR_VARIABLE, None)  # a run that hands in another is not its folder
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise ValueError(f"sbatch refused the job: {done.stderr.strip()}\n{shlex.join(words)}")
    number = done.stdout.strip().rsplit(" ", 1)[-1]
    name = words[1].removeprefix("--job-name=")
    return (
        f"job         {number}\nlog         outputs/slurm/{name}-{number}{'_*' if options.array else ''}.log\n"
        f"watch       squeue -j {number}\nstop        scancel {number}"
    )


def submit_command(options: argparse.Namespace, overrides: list[str]) -> str:
    """Checks a recipe here, so that no job waits in a queue to die of a misspelt key, and hands it in."""
    from recipes.launcher.check import check
    from recipes.launcher.class_paths import folders_of

    # perhaps for the run that it starts from; what is only printed is for a machine that has the files
    later = options.dry_run or any("dependency" in option for option in options.sbatch)
    folders = folders_of(options.user_dir, [options.recipe, *options.overlay])
    check(options.recipe, options.overlay, overrides, files=not later, folders=folders)
    return submit(options, overrides)
