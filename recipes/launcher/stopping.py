"""What a run that was interrupted says last: how far it came, what it saved, and how it goes on."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from callbacks.interruption import Interrupted, Interruption
from modules.console import PlainConsole
from recipes.launcher.parent import STARTED_IN_VARIABLE
from recipes.launcher.runs import begun, last_checkpoint


@contextmanager
def last_words(interruption: Interruption, run_dir: Path, command: Sequence[str]) -> Iterator[None]:
    """Has an interrupted run say what became of it; the arguments are those of `account`."""
    try:
        yield
    except Interrupted:
        if rank_zero_only.rank == 0:  # type: ignore[attr-defined]  # Lightning hangs it on the function
            said = account(interruption, run_dir, command)
            PlainConsole(stderr=True, soft_wrap=True).print(said)
        raise


def account(interruption: Interruption, run_dir: Path, command: Sequence[str]) -> str:
    """A line on what happened and one with the command that goes on.

    Args:
        interruption: that has come.
        run_dir: folder of the run.
        command: the words after ``lightning`` that began it.
    """
    cause = "SIGTERM, sent to another rank" if interruption.signal is None else interruption.signal.name
    if interruption.saved is not None:
        said = f"by {cause} after update {interruption.step}; saved {interruption.saved}"
    elif begun(str(run_dir)):
        said = f"by {cause}; the last checkpoint is {last_checkpoint(run_dir)}"
    else:
        said = f"by {cause}; there is no checkpoint yet, so the command begins again (files that are whole stay)"
    again = _without_resume(command)
    if begun(str(run_dir)):
        again += ["--resume", str(run_dir.absolute() if STARTED_IN_VARIABLE in os.environ else run_dir)]
    return f"stopped     {said}\ngo on       {shlex.join(['lightning', *again])}"


def _without_resume(command: Sequence[str]) -> list[str]:
    """The words without ``--resume X``."""
    words, rest = [], list(command)
    while rest:
        word = rest.pop(0)
        if word == "--resume":
            del rest[:1]
        elif not word.startswith("--resume="):
            words.append(word)
    return words
