"""Kills runs at random moments, goes on until each is through, and compares everything with an undisturbed run.

    python tests/fuzz/kills.py --kills 100 --seed 0
    python tests/fuzz/kills.py --kills 20 --seed 0 --processes 2 --kill one
    python tests/fuzz/kills.py --phase all

Every run is a process of its own, killed by SIGKILL after a time drawn evenly from that of an undisturbed run, again
after it was resumed with probability 1/3, and at last let be. ``--kill all`` kills it with all that it has started, at
once; ``--kill one`` kills one training process, as the out-of-memory killer does, and the others have to end by
themselves. One run in four begins in an empty folder (the world is written, features are extracted, MLflow is set up
and each of these may be hit); the others share these. ``--phase`` kills at a named moment instead (`phases`), each time
in an empty folder. One process is forked from one that has imported the libraries
and does what ``lightning run`` does; several are started by the command itself.

Exit status 0: every run came to its end, equal to the undisturbed one to the last bit, and nothing stayed behind.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
from phases import PHASES, Moment, arm  # noqa: E402
from same_run import differences, doubled_metrics, superseded_checkpoints  # noqa: E402

_PATIENCE_S = 900.0
_END_S = 60.0
"""What a killed training process has started ends within so long."""


@dataclass
class Tally:
    """What came of the trials so far."""

    kills: Counter[str] = field(default_factory=Counter)
    """By what the run had reached."""
    runs: int = 0
    exact: int = 0
    left_behind: int = 0
    doubled: int = 0
    superseded: int = 0
    failures: list[str] = field(default_factory=list)


class Command:
    """One way to start the run to be killed.

    Args:
        words: of ``lightning run``, without ``--run_dir``.
        forked: from this process, which has imported the libraries; else by the real command.
    """

    def __init__(self, words: list[str], forked: bool) -> None:
        self.words, self.forked = words, forked

    def start(self, cwd: Path, run_dir: str, moment: Moment | None = None) -> Session:
        """Starts it, or goes on with it; at the moment, where there is one, it kills itself."""
        words = ["run", *self.words, "--run_dir", run_dir, "--resume", "auto"]
        log = cwd / f"{Path(run_dir).name}.log"
        if self.forked:
            return Session(_fork(words, cwd, log, moment), log)
        with log.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "recipes", *words],
                cwd=cwd,
                stdout=file,
                stderr=file,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        process.returncode = 0  # waited for below
        return Session(process.pid, log)


def _fork(words: list[str], cwd: Path, log: Path, moment: Moment | None) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.chdir(cwd)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.argv = [str(ROOT / "recipes" / "__main__.py"), *words]
        from recipes.launcher.cli import main

        if moment is not None:
            arm(moment)
        main(words)
        status = 0
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class Session:
    """A started run with all that it starts; ``pid`` leads the session."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid, self.log = pid, log
        self._ended = os.pidfd_open(pid)

    def wait(self, seconds: float) -> int | None:
        """The exit status, negative for a signal; None if it still runs after so long."""
        if not select.select([self._ended], [], [], seconds)[0]:
            return None
        os.close(self._ended)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def members(self) -> dict[int, str]:
        """Processes of the session that run, by number, with their command."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.pid and state != "Z":
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
        return found

    def training_processes(self) -> list[int]:
        return [pid for pid, command in self.members().items() if pid == self.pid or " -m recipes run " in command]


def kill(session: Session, who: str, rng: random.Random) -> None:
    """Kills all of a session, or one of its training processes."""
    if who == "all":
        os.killpg(session.pid, signal.SIGKILL)
        return
    os.kill(rng.choice(session.training_processes() or [session.pid]), signal.SIGKILL)


def left_behind(session: Session) -> dict[int, str]:
    """What still runs of a session some time after its end; it is killed."""
    deadline = time.monotonic() + _END_S
    while (rest := session.members()) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in rest:
        os.kill(pid, signal.SIGKILL)
    return rest


def reached(run_dir: Path) -> str:
    """How far a killed run had come, by its files."""
    from recipes.launcher.runs import begun

    if (run_dir / "test_summary.json").is_file():
        return "after the table"
    if begun(str(run_dir)):
        return "between the first checkpoint and the table"
    if (run_dir / "mlflow_run_id").is_file():
        return "before the first checkpoint"
    return "before training"


def trial(command: Command, cwd: Path, name: str, seconds: float, who: str, rng: random.Random, tally: Tally) -> int:
    """Kills and resumes one run until it is through; gives the number of kills."""
    run_dir, kills = Path("outputs/kills") / name, 0
    while True:
        again = kills == 0 or rng.random() < 1 / 3
        session = command.start(cwd, str(run_dir))
        status = session.wait(rng.uniform(0, seconds) if again else _PATIENCE_S)
        if status is None and again:
            kill(session, who, rng)
            kills += 1
            tally.kills[reached(cwd / run_dir)] += 1
            status = session.wait(_END_S)
            if status is None:
                tally.failures.append(f"{name}: the others did not end after one was killed")
                os.killpg(session.pid, signal.SIGKILL)
                session.wait(_END_S)
            status = None
        if rest := left_behind(session):
            tally.left_behind += len(rest)
            tally.failures.append(f"{name}: {len(rest)} processes stayed behind: {rest}")
        if status is not None:
            if status:
                tally.failures.append(f"{name}: ended with {status}: {session.log.read_text()[-1500:]}")
            return kills


def phase_trial(command: Command, cwd: Path, phase: str, tally: Tally) -> None:
    """Kills one run at a moment, and goes on until it is through."""
    run_dir = f"outputs/kills/{cwd.name}"
    for moment in (*[PHASES[phase]] * PHASES[phase].times, None):
        session = command.start(cwd, run_dir, moment)
        status = session.wait(_PATIENCE_S)
        if moment is not None and status == -signal.SIGKILL:
            tally.kills[f"at: {phase}"] += 1
        elif moment is not None or status != 0:
            tally.failures.append(f"{phase}: ended with {status}: {session.log.read_text()[-1500:]}")
        if rest := left_behind(session):
            tally.left_behind += len(rest)
            tally.failures.append(f"{phase}: {len(rest)} processes stayed behind: {rest}")


def main() -> None:
    given = _parser().parse_args()
    tqdm.monitor_interval = 0  # no thread where processes are forked
    rng = random.Random(given.seed)
    place = Path(given.out or tempfile.mkdtemp(prefix="kills-")).absolute()
    words = [str(ROOT / given.recipe)]
    for overlay in [str(ROOT / "tests/fuzz/kills.yaml"), *given.overlay]:
        words += ["--overlay", overlay]
    if given.processes > 1:
        words += ["--overlay", str(ROOT / "recipes/overlays/cpu_ddp.yaml"), "--trainer.devices", str(given.processes)]
        words += ["--data.batch_size", "2"]
    command = Command(words, forked=given.processes == 1)
    if command.forked:
        for name in _LIBRARIES:
            importlib.import_module(name)
    tally, started = Tally(), time.monotonic()
    shared = place / "shared"
    times = {False: _undisturbed(command, shared, "first"), True: 0.0}
    times[True], times[False] = times[False], _undisturbed(command, shared, "undisturbed")
    expected = shared / "outputs/kills/undisturbed"
    _compare("first", expected, shared / "outputs/kills/first", tally)
    tally.runs = tally.exact = 0
    if given.phase:
        for phase in tqdm(list(PHASES) if "all" in given.phase else given.phase, unit="kill", desc="Killing by phase"):
            cwd = place / f"run_{phase.replace(' ', '_')}"
            cwd.mkdir(parents=True)
            phase_trial(command, cwd, phase, tally)
            _compare(phase, expected, cwd / "outputs/kills" / cwd.name, tally)
    else:
        _kill_at_random(command, place, expected, times, given, rng, tally)
    _report(tally, given, time.monotonic() - started, place)
    sys.exit(1 if tally.failures else 0)


def _kill_at_random(
    command: Command,
    place: Path,
    expected: Path,
    times: dict[bool, float],
    given: argparse.Namespace,
    rng: random.Random,
    tally: Tally,
) -> None:
    """Runs with kills until there were enough of these.

    Args:
        command: of a run.
        place: folder of the runs.
        expected: the undisturbed run.
        times: how long a run takes that begins in an empty folder (true), and in one that is not (false), in seconds.
        given: the script's options.
        rng: of the moments.
        tally: counts.
    """
    with tqdm(total=given.kills, unit="kill", desc=f"Killing {given.kill}") as bar:
        while bar.n < given.kills:
            fresh = rng.random() < given.fresh
            name = f"run_{tally.runs:03d}"
            cwd = place / name if fresh else place / "shared"
            cwd.mkdir(parents=True, exist_ok=True)
            bar.update(trial(command, cwd, name, times[fresh], given.kill, rng, tally))
            exact = _compare(name, expected, cwd / "outputs/kills" / name, tally)
            if exact and fresh:
                shutil.rmtree(cwd)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="how many, at least (100)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--processes", type=int, default=1, help="training processes; more than one are DDP's (1)")
    parser.add_argument("--kill", choices=["all", "one"], default="all", help="all processes at once, or one (all)")
    parser.add_argument("--fresh", type=float, default=0.25, help="share of runs that begin in an empty folder (0.25)")
    parser.add_argument(
        "--phase", action="append", choices=["all", *PHASES], help="at this moment instead; may be given several times"
    )
    parser.add_argument("--recipe", default="recipes/tspo.yaml", help="of the run (recipes/tspo.yaml)")
    parser.add_argument("--overlay", action="append", default=[], metavar="FILE", help="more YAML over kills.yaml")
    parser.add_argument("--out", help="folder of the runs; those that are not exact stay (a temporary one)")
    return parser


_LIBRARIES = (
    "callbacks.evaluation_report",
    "callbacks.learning_curve",
    "callbacks.tracking.mlflow_logger",
    "callbacks.rollout_table",
    "callbacks.timeline",
    "datamodules.haystack.datamodule",
    "mlflow.store.tracking.sqlalchemy_store",
    "modules.encoders.open_clip",
    "modules.rl.evolution",
    "modules.mllms.llava_onevision",
    "modules.methods.tspo.agent",
    "pandas",
    "recipes.launcher.launch",
)
"""What every run imports."""


def _undisturbed(command: Command, cwd: Path, name: str) -> float:
    """Runs once without a kill; its seconds."""
    cwd.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    session = command.start(cwd, f"outputs/kills/{name}")
    status = session.wait(_PATIENCE_S)
    if status != 0:
        sys.exit(f"the undisturbed run ended with {status}:\n{session.log.read_text()[-3000:]}")
    return time.monotonic() - started


def _compare(name: str, expected: Path, found: Path, tally: Tally) -> bool:
    """Counts a run that is through."""
    tally.runs += 1
    try:
        different = differences(expected, found)
        tally.doubled += doubled_metrics(found)
        tally.superseded += len(superseded_checkpoints(found))
    except (OSError, RuntimeError, ValueError) as error:
        different = [f"cannot be compared: {error!r}"]
    tally.exact += not different
    if different:
        tally.failures.append(f"{name}: " + "; ".join(different[:8]) + (" ..." if len(different) > 8 else ""))
    return not different


def _report(tally: Tally, given: argparse.Namespace, seconds: float, place: Path) -> None:
    console = Console(width=120)
    for failure in tally.failures:
        console.print(failure, markup=False, highlight=False)
    table = Table(title=f"SIGKILL to {given.kill} of {given.processes} training process(es), seed {given.seed}")
    for column in ("what", "number"):
        table.add_column(column, justify="right" if column == "number" else "left")
    for phase, number in sorted(tally.kills.items()):
        table.add_row(f"kills {phase}", str(number))
    rows = {
        "kills": sum(tally.kills.values()),
        "runs": tally.runs,
        "runs exact": tally.exact,
        "processes that stayed behind": tally.left_behind,
        "points that MLflow has twice": tally.doubled,
        "older checkpoints that stayed": tally.superseded,
        "failures": len(tally.failures),
        "seconds": round(seconds),
    }
    for what, number in rows.items():
        table.add_row(what, str(number))
    console.print(table)
    console.print(f"runs        {place}", highlight=False)


if __name__ == "__main__":
    main()
