"""``lightning report``: one HTML page of evaluations, without a model."""

from __future__ import annotations

import argparse
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
    folders = list(dict.fromkeys(Path(run) for run in options.runs))
    runs = [read_run(folder) for folder in folders]
    written = write_report(
        runs,
        Path(options.out) if options.out else folders[0] / FILE_NAME if len(folders) == 1 else Path(FILE_NAME),
        scorer=scorer(options.scorer) if options.scorer else None,
        pictures=None if options.no_thumbnails else Thumbnails(),
        num_questions=options.questions,
        most_bytes=round(options.max_mb * 1e6),
    )
    console = PlainConsole(soft_wrap=True)
    for remark in written.remarks:
        console.print(f"note        {remark}")
    console.print(f"report      {written.path} ({written.num_bytes / 1e6:.1f} MB)")
