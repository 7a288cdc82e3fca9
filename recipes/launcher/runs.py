"""Where runs lie: ``outputs/NAME/TIME``, or ``outputs/slurm/NAME-JOB``, with ``checkpoints/last.ckpt`` inside."""

from __future__ import annotations

import itertools
import os
import re
import time
from pathlib import Path

RUN_DIR_VARIABLE = "KAIROS_RUN_DIR"
_LAST = Path("checkpoints") / "last.ckpt"


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
    """A path, or ``last:NAME`` for the newest run of a recipe.

    Raises:
        ValueError: no such file or run.
    """
    path = last_checkpoint(newest_run(value.removeprefix("last:"))) if value.startswith("last:") else Path(value)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a checkpoint, as {path / _LAST} or last:NAME")
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    return path
