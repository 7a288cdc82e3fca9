"""What Kairos hands to a run's loggers beside metrics: tags, files, pictures, tables.

Lightning's own loggers take metrics and settings; those of this folder take the rest too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import lightning as L


class RunLogger(ABC):
    """A logger that takes more than metrics and settings.

    The first rank alone talks; what others hand over goes nowhere.
    """

    lacks: str = ""
    """What it does not take, in words; empty where it takes everything."""

    @abstractmethod
    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Names what the run is: its method, its world, its commit."""

    @abstractmethod
    def log_file(self, path: Path) -> None:
        """Takes a file, which stays where it is."""

    @abstractmethod
    def log_picture(self, path: Path, name: str, step: int) -> None:
        """Takes a PNG.

        Args:
            path: of the file, which stays where it is.
            name: under which pictures of several steps belong together.
            step: number of updates that had been made.
        """

    @abstractmethod
    def log_table(self, path: Path, step: int) -> None:
        """Takes rows to be looked at, one JSON object a line; the table is called as the file is.

        Args:
            path: of the file, which stays where it is.
            step: number of updates that had been made.
        """

    @abstractmethod
    def how_to_look(self) -> list[str]:
        """Commands and addresses that show the run, the first thing to do first."""

    @abstractmethod
    def close(self, patience_s: float = 15.0) -> str | None:
        """Sends what is left.

        Args:
            patience_s: the longest that nothing may be sent.

        Returns:
            What is lacking then, in a sentence; None where everything has arrived.
        """


def run_loggers(trainer: L.Trainer) -> list[RunLogger]:
    """Those of a trainer that take files, pictures and tables."""
    return [logger for logger in trainer.loggers if isinstance(logger, RunLogger)]


def how_to_look(trainer: L.Trainer) -> list[str]:
    """Commands, addresses and folders that show what a trainer has logged."""
    found = []
    for logger in trainer.loggers:
        if isinstance(logger, RunLogger):
            found += logger.how_to_look()
        elif logger.log_dir or logger.save_dir:
            found.append(str(logger.log_dir or logger.save_dir))
    return found


def not_taken(trainer: L.Trainer) -> list[str]:
    """What each logger of a trainer does not take, in words."""
    found = []
    for logger in trainer.loggers:
        lacks = logger.lacks if isinstance(logger, RunLogger) else "pictures, tables and other files"
        if lacks:
            found.append(f"{type(logger).__name__} takes no {lacks}")
    return found
