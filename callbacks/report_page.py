"""The page of an evaluation that a browser shows, written when it ends; `lightning report` makes it again."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path

import lightning as L
from jsonargparse.typing import PositiveInt

from callbacks.tracking.run_logger import run_loggers
from modules.console import PlainConsole
from modules.evaluation.report.picture_source import PictureSource
from modules.evaluation.report.report_file import FILE_NAME, MOST_QUESTIONS, write_report
from modules.evaluation.report.run_folder import read_run

_log = logging.getLogger(__name__)


class ReportPage(L.Callback):
    """Writes ``report.html`` of the files that `callbacks.evaluation_report.EvaluationReport`, before it, has written.

    An evaluation is not lost with its page: where that cannot be written, the reason is said and the run goes on.

    Args:
        run_dir: of the run.
        thumbnails: of chosen frames; null leaves them out.
        num_questions: how many questions are shown one by one, at most.
    """

    def __init__(
        self, *, run_dir: str, thumbnails: PictureSource | None = None, num_questions: PositiveInt = MOST_QUESTIONS
    ) -> None:
        self.run_dir, self.thumbnails, self.num_questions = Path(run_dir), thumbnails, num_questions

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        path = self.run_dir / FILE_NAME
        try:
            written = write_report(
                [read_run(self.run_dir)], path, pictures=self.thumbnails, num_questions=self.num_questions
            )
        except (ValueError, OSError) as error:
            again = f"lightning report {shlex.quote(str(self.run_dir))}"
            _log.warning("there is no %s: %s. The answers are written; once that is mended: %s", path, error, again)
            return
        for logger in run_loggers(trainer):
            logger.log_file(path)
        console = PlainConsole(soft_wrap=True)
        for remark in written.remarks:
            console.print(f"note        {remark}")
        console.print(f"report      {path}")
