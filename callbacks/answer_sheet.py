"""Prints the answer to one question with the moments it rests on, and draws them as a contact sheet."""

from __future__ import annotations

import itertools
import textwrap
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from callbacks.timeline_picture import save_figure, timeline_figure
from modules.console import PlainConsole
from modules.files.file_names import file_name
from modules.records import Answer, Candidates, QuestionBatch
from modules.systems.base import Reply
from modules.systems.grading import most_probable_option
from modules.systems.option_shares import shares_of
from modules.systems.reply_text import answer_text, reply_lines
from modules.systems.sampler_system import SamplerSystem
from modules.systems.stage_data import data_of


class AnswerSheet(L.Callback):
    """For ``ask``: answer, probabilities of the options, the right one where it was given, chosen times, cost, and
    ``contact_sheet.png``, which has them all.

    Args:
        run_dir: where the picture goes.
    """

    def __init__(self, *, run_dir: str) -> None:
        self.run_dir = Path(run_dir)

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: Any,
        outputs: list[Reply],
        batch: QuestionBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not trainer.is_global_zero:
            return
        names = [system for system, _ in itertools.groupby(outputs, key=lambda reply: reply.answer.system)]
        for number, reply in enumerate(outputs):
            b = number % len(batch)
            if not reply.answer.text and most_probable_option(reply.answer) is None:
                raise ValueError(
                    f"{reply.answer.video}: the frames that were chosen cannot be decoded, so nothing was asked"
                )
            self._print(reply, batch.candidates[b], named=len(names) > 1)
            system = pl_module.systems[reply.answer.system]
            path = self.run_dir / (
                f"contact_sheet_{file_name(system.name)}.png" if len(names) > 1 else "contact_sheet.png"
            )
            scores = system.choice.scores if isinstance(system, SamplerSystem) else None
            self._draw(path, reply, batch.candidates[b], None if scores is None else scores[b], data_of(trainer))

    def _print(self, reply: Reply, candidates: Candidates, named: bool) -> None:
        console = PlainConsole(soft_wrap=True)
        if named:
            console.print(f"system      {reply.answer.system}")
        for name, words in reply_lines(reply, candidates.duration_s):
            console.print(f"{name:<12}", end="")
            console.print(words, style="bold" if name == "answer" else None)

    def _draw(self, path: Path, reply: Reply, candidates: Candidates, scores: Tensor | None, source: Any) -> None:
        if reply.selection is None:
            return
        picks = candidates.holding(torch.tensor(reply.selection.frame_ids))
        figure = timeline_figure(
            title=_title(reply.answer),
            options=shares_of(reply.answer),
            evidence_s=reply.answer.evidence_s,
            timestamps_s=candidates.timestamps_s.numpy(),
            scores=None if scores is None else scores[: len(candidates)].cpu().numpy(),
            chosen=picks.numpy(),
            thumbnails=source.decode(candidates, picks).permute(0, 2, 3, 1).numpy(),
        )
        save_figure(figure, path)
        PlainConsole(soft_wrap=True).print(f"picture     {path}")


def _title(answer: Answer) -> str:
    """Question and answer, with line breaks where the picture ends."""
    words = f"{answer.question}   answer: {answer_text(answer)}"
    return textwrap.fill(words, 150, max_lines=4, replace_whitespace=False)
