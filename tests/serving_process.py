"""``lightning serve`` as a process of its own, as somebody starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving_requests import ROOT


class ServingProcess:
    """A server that runs.

    Args:
        words: of the command line, after the recipe.
        folder: that it is started in.
        environment: beside this process's own.
    """

    def __init__(self, words: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
        self.log = folder / f"served-{time.monotonic_ns()}.log"
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(environment or {})}
        command = [sys.executable, "-m", "recipes", "serve", "--port", "0", *words]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=log)

    @property
    def said(self) -> str:
        """Everything it has printed."""
        return self.log.read_text()

    @property
    def address(self) -> str:
        """Where it listens, once it does.

        Raises:
            RuntimeError: it has ended before, or never came to it.
        """
        for _ in range(3000):
            if found := re.search(r"^address +(http://\S+)", self.said, re.MULTILINE):
                return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(self.said)

    def stop(self, kind: int = signal.SIGTERM) -> int:
        """Tells it to stop, and waits until it has; the exit code."""
        self.process.send_signal(kind)
        return self.process.wait(120)

    def children(self) -> list[int]:
        """Processes that it has started."""
        task = Path(f"/proc/{self.process.pid}/task")
        return [int(pid) for child in task.glob("*/children") for pid in child.read_text().split()]

    def processor_s(self) -> float:
        """Seconds of the processor that it and the processes it has started have taken so far."""
        total = 0
        for pid, ended in ((self.process.pid, True), *((child, False) for child in self.children())):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11 : 15 if ended else 13]))  # its own, and of children that have ended
        return total / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        """Memory of the process itself."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


@contextmanager
def serving(words: list[str], folder: Path, environment: dict[str, str] | None = None) -> Iterator[ServingProcess]:
    """A server while the context lasts."""
    made = ServingProcess(words, folder, environment)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.wait(30)
