"""First starts of MLflow's database, several at once and killed, without a training: the logger alone.

    python tests/fuzz/first_starts.py --rounds 20 --together 4 --kills 40 --seed 0

Each round starts so many processes at once in a fresh folder; each kill ends one there by SIGKILL after a random time
and starts another. Every process that comes to its end has to find all its metrics in MLflow. Processes are
forked from one that has imported everything, so that a round takes seconds and the random times meet the database.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from callbacks.tracking.mlflow_logger import BufferedMLFlowLogger
from callbacks.tracking.mlflow_writer import import_quietly

STEPS = 20


def begin(folder: Path, name: str) -> int:
    """Starts a process that logs a run; its id."""
    pid = os.fork()
    if pid:
        return pid
    said = "an exception"
    try:
        os.chdir(folder)
        logger = BufferedMLFlowLogger(
            run_dir=f"outputs/{name}", tracking_uri="sqlite:///outputs/mlflow.db", artifact_location="outputs/artifacts"
        )
        for step in range(1, STEPS + 1):
            logger.log_metrics({"reward/total": step / 10}, step)
        logger.finalize("success")
        said = logger.close(60.0)
    except BaseException as error:
        said = repr(error)
    if said is not None:
        (folder / f"{name}.failed").write_text(said)
    os._exit(0 if said is None else 1)


def outcome(folder: Path, name: str, pid: int) -> str:
    """What became of a process that was left to run."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        failed = folder / f"{name}.failed"
        return failed.read_text()[:100] if failed.is_file() else f"status {status}"
    run_id = (folder / f"outputs/{name}/mlflow_run_id").read_text()
    with closing(sqlite3.connect(folder / "outputs/mlflow.db", timeout=60)) as database:
        found = database.execute("select count(distinct step) from metrics where run_uuid = ?", (run_id,)).fetchone()[0]
    return "lived" if found == STEPS else f"{found} of {STEPS} metrics"


def together(folder: Path, count: int) -> list[str]:
    """What became of so many that were started at once."""
    pids = [begin(folder, f"run{n}") for n in range(count)]
    return [outcome(folder, f"run{n}", pid) for n, pid in enumerate(pids)]


def killed(folder: Path, after_s: float) -> str:
    """What became of a start after one that was killed."""
    pid = begin(folder, "killed")
    time.sleep(after_s)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return outcome(folder, "next", begin(folder, "next"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="fresh folders in which several start at once")
    parser.add_argument("--together", type=int, default=4, help="so many")
    parser.add_argument("--kills", type=int, default=40, help="fresh folders in which one is killed")
    parser.add_argument("--longest", type=float, default=6.0, help="seconds until a kill, at most")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    import_quietly()
    chance, found = random.Random(options.seed), {"at once": Counter[str](), "after a kill": Counter[str]()}
    with tempfile.TemporaryDirectory() as root:
        for n in tqdm(range(options.rounds), desc="at once"):
            (folder := Path(root) / f"together{n}").mkdir()
            found["at once"].update(together(folder, options.together))
        for n in tqdm(range(options.kills), desc="killed"):
            (folder := Path(root) / f"killed{n}").mkdir()
            found["after a kill"][killed(folder, chance.uniform(0, options.longest))] += 1
    table = Table("starts", "tried", "lived", "how the rest failed")
    for name, outcomes in found.items():
        rest = ", ".join(f"{count} x {what}" for what, count in outcomes.items() if what != "lived")
        table.add_row(name, str(outcomes.total()), str(outcomes["lived"]), rest)
    Console(markup=False).print(table)
    return int(any(outcomes.total() > outcomes["lived"] for outcomes in found.values()))


if __name__ == "__main__":
    sys.exit(main())
