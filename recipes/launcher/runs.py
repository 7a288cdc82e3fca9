"""Where runs lie: ``outputs/NAME/TIME``, or ``outputs/slurm/NAME-JOB``, with ``checkpoints/last.ckpt`` inside.

A checkpoint is named by its file, by the folder of its run, by the folder that `lightning consolidate` wrote, or as
``last:NAME``.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from pathlib import Path

RUN_DIR_VARIABLE = "KAIROS_RUN_DIR"
SAMPLER_FILE = "sampler.safetensors"
"""What `lightning consolidate` writes."""
_LAST = Path("checkpoints") / "last.ckpt"
_MOST_NAMED = 8


def new_run_dir(name: str) -> Path:
    """Makes ``outputs/NAME/TIME``, which no other run has; the ranks of one run share theirs.

    Processes that DDP starts get the folder of the one that started them, and those of one ``srun``, where they were
    given none, ``outputs/slurm/NAME-JOB_STEP``.
    """
    if known := os.environ.get(RUN_DIR_VARIABLE):
        run_dir = Path(known)
        run_dir.mkdir(parents=True, exist_ok=True)
    elif int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        job, step = os.environ["SLURM_JOB_ID"], os.environ["SLURM_STEP_ID"]
        run_dir = Path("outputs") / "slurm" / f"{name}-{job}_{step}"
        run_dir.mkdir(parents=True, exist_ok=True)
    else:
        run_dir = _make_own(Path("outputs") / name / time.strftime("%Y%m%d-%H%M%S"))
    os.environ[RUN_DIR_VARIABLE] = str(run_dir)
    return run_dir


def _make_own(folder: Path) -> Path:
    """Makes a folder that was not there: that one, or with ``-2``, ``-3``, ... where runs begin in the same second."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        own = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            own.mkdir()
        except FileExistsError:
            continue
        return own
    raise AssertionError("there is always a next number")


def newest_run(name: str) -> Path:
    """The run of a recipe whose checkpoint is newest, wherever it ran.

    Raises:
        ValueError: there is none.
    """
    begun_jobs = [run_dir for run_dir in Path("outputs").glob("slurm/*") if begun(str(run_dir))]
    known = [run_dir for run_dir in Path("outputs").glob(f"{name}/*") if begun(str(run_dir))]
    known += [run_dir for run_dir in begun_jobs if _is_job_of(run_dir, name)]
    if not known:
        raise ValueError(
            f"no run of {name!r} has a checkpoint below {Path('outputs').absolute()}, neither in {name}/ nor in "
            f"slurm/{name}-*; run the recipe of that name first"
        )
    return max(known, key=lambda run_dir: last_checkpoint(run_dir).stat().st_mtime)


def _is_job_of(run_dir: Path, name: str) -> bool:
    """Whether a job's folder is a run of that name: the job's, or the recipe's where the job was called otherwise."""
    if re.fullmatch(rf"{re.escape(name)}-[\d_]+", run_dir.name):
        return True
    recipe = run_dir / "recipe.yaml"
    return (
        recipe.is_file() and re.search(rf"^name: ['\"]?{re.escape(name)}['\"]?$", recipe.read_text(), re.M) is not None
    )


def find_run(name: str, resume: str) -> Path:
    """The run folder that ``--resume last`` or ``--resume DIR`` means; it has a checkpoint."""
    run_dir = newest_run(name) if resume == "last" else Path(resume)
    if not last_checkpoint(run_dir).is_file():
        raise ValueError(f"--resume {resume}: there is no {run_dir / _LAST}")
    return run_dir


def begun(run_dir: str) -> bool:
    """Whether a run folder has a checkpoint to go on from."""
    return last_checkpoint(Path(run_dir)).is_file()


def last_checkpoint(run_dir: Path) -> Path:
    """``last.ckpt``; the newest other one, if a run was killed while it renewed that link."""
    last = run_dir / _LAST
    others = (
        [] if last.is_file() else sorted((p for p in last.parent.glob("*.ckpt") if p.is_file()), key=os.path.getmtime)
    )
    return others[-1] if others else last


def resolve_checkpoint(value: str) -> Path:
    """The file of trained weights that a path, or ``last:NAME`` for the newest run of a recipe, stands for.

    Args:
        value: a ``.ckpt`` or ``sampler.safetensors`` file, a run's folder, a folder of `lightning consolidate`, or
            ``last:NAME``.

    Raises:
        ValueError: there is none; says what is there instead.
    """
    path = newest_run(value.removeprefix("last:")) if value.startswith("last:") else Path(value)
    if path.is_dir():
        run_dir = path.parent if path.name == _LAST.parent.name else path
        found = [place for place in (last_checkpoint(run_dir), path / SAMPLER_FILE) if place.is_file()]
        if not found:
            raise ValueError(f"{path} is a folder with neither {_LAST} nor {SAMPLER_FILE}; {content_of_folder(path)}")
        return found[0]
    if not path.is_file():
        folder = next(parent for parent in path.absolute().parents if parent.is_dir())
        raise ValueError(f"no such file: {path}; {content_of_folder(folder)}")
    return path


def content_of_folder(folder: Path) -> str:
    """What lies in a folder, the newest first, as half a sentence."""

    def newest_first(path: Path) -> float:
        return -path.lstat().st_mtime

    try:
        entries = [p for p in folder.iterdir() if not p.name.startswith(".")]
        names = [f"{p.name}/" if p.is_dir() else p.name for p in sorted(entries, key=newest_first)]
    except OSError as error:
        return f"{folder} cannot be looked into ({error.strerror})"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"in {folder} there is {', '.join(names[:_MOST_NAMED]) or 'nothing'}{more}"
