"""``lightning report``: one HTML page of evaluations, without a model."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from datamodules.video.thumbnails import Thumbnails
from modules.console import PlainConsole
from modules.evaluation.report.report_file import FILE_NAME, write_report
from modules.evaluation.report.run_folder import read_run
from modules.evaluation.scorers import scorer


def report_command(options: argparse.Namespace) -> None:
    """``lightning report RUN...``."""
    if options.questions < 1:
        raise ValueError(f"--questions {options.questions}: at least one")
    if not options.max_mb >= 0.5:
        raise ValueError(f"--max-mb {options.max_mb:g}: tables and pictures of a report need 0.5 at least")
    named = named_folders(options.runs)
    folders = list(named)
    runs = [read_run(folder) for folder in folders]
    written = write_report(
        runs,
        Path(options.out) if options.out else folders[0] / FILE_NAME if len(folders) == 1 else Path(FILE_NAME),
        scorer=scorer(options.scorer) if options.scorer else None,
        pictures=None if options.no_thumbnails else Thumbnails(),
        num_questions=options.questions,
        most_bytes=round(options.max_mb * 1e6),
        world_names={folder: name for folder, name in named.items() if name},
    )
    console = PlainConsole(soft_wrap=True)
    for remark in written.remarks:
        console.print(f"note        {remark}")
    console.print(f"report      {written.path} ({written.num_bytes / 1e6:.1f} MB)")


def named_folders(words: Sequence[str]) -> dict[Path, str]:
    """Run folders in order, each with the name of its world; empty where it has none.

    Args:
        words: of the command line, each a folder or ``NAME=RUN,RUN``; what is there may have any name itself.

    Raises:
        ValueError: a name without runs, or the other way about, or a run with two names.
    """
    found: dict[Path, str] = {}
    for word in words:
        is_named = "=" in word and not os.path.exists(word)
        name, runs = _world(word) if is_named else ("", [word])
        for folder in map(Path, runs):
            before = found.get(folder, "")
            if name and before and name != before:
                raise ValueError(f"{folder} is named both {before!r} and {name!r}; a run is of one world")
            found[folder] = name or before
    return found


def _world(word: str) -> tuple[str, list[str]]:
    name, _, rest = word.partition("=")
    runs = [run.strip() for run in rest.split(",")]
    if not name.strip() or not all(runs):
        raise ValueError(f"{word!r}: a named world is NAME=RUN, or several runs separated by commas")
    return name.strip(), runs
