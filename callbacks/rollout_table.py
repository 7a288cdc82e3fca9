"""A table of rollouts: what was chosen, what was answered, what it earned."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse.typing import PositiveInt
from torch import Tensor

from callbacks.after_update import AfterUpdate
from callbacks.tracking.run_logger import run_loggers
from modules.files.strict_json import strict_json
from modules.files.whole_files import write_whole
from modules.records import Rollouts


def rollout_rows(
    rollouts: Rollouts, terms: Mapping[str, Tensor], step: int, num_questions: int
) -> list[dict[str, Any]]:
    """One row a rollout of the first questions of a batch.

    Args:
        rollouts: of B questions.
        terms: of their reward by name, each (B, G).
        step: number of the update.
        num_questions: how many of the B.
    """
    rows = []
    times = rollouts.selection.in_time_order()[:num_questions].cpu()  # one copy of each, not one a rollout
    rewards = {name: term[:num_questions].tolist() for name, term in terms.items()}
    options = None if rollouts.option_log_probs is None else rollouts.chosen_option[:num_questions].tolist()
    for b, question in enumerate(rollouts.batch.questions[:num_questions]):
        for g in range(times.shape[1]):
            picks = times[b, g][times[b, g] >= 0]
            row = {
                "step": step,
                "sample_id": question.sample_id,
                "question": question.question,
                "answer": question.answer,
                "rollout": g,
                "timestamps_s": [round(float(t), 2) for t in rollouts.batch.candidates[b].timestamps_s[picks]],
            }
            if options is not None:
                chosen = options[b][g]
                row["chosen_option"] = question.options[chosen] if chosen >= 0 else None
            if rollouts.queries is not None:
                row["queries"] = rollouts.queries[b][g]
            if rollouts.texts is not None:
                row["text"] = rollouts.texts[b][g]
            row |= {f"reward_{name}": round(term[b][g], 4) for name, term in rewards.items()}
            rows.append(row)
    return rows


class RolloutTable(AfterUpdate):
    """Appends rollouts to ``rollouts.jsonl`` every ``every_n_steps`` updates, and logs them as a table at the end.

    A resumed run first cuts off what was written after its checkpoint, for it comes again.

    A term that does not apply to a rollout is null in its row.

    Args:
        run_dir: where the file lies.
        every_n_steps: how often.
        num_questions: of each batch.
    """

    def __init__(self, *, run_dir: str, every_n_steps: PositiveInt = 50, num_questions: PositiveInt = 2) -> None:
        self.path, self.every_n_steps, self.num_questions = (
            Path(run_dir) / "rollouts.jsonl",
            every_n_steps,
            num_questions,
        )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero and self.path.is_file():
            lines = self.path.read_text().splitlines(keepends=True)
            kept = list(itertools.takewhile(lambda line: _is_until(line, trainer.global_step), lines))
            if len(kept) < len(lines):
                write_whole(self.path, "table of rollouts", "".join(kept))

    def on_update_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any) -> None:
        if not trainer.is_global_zero or trainer.global_step % self.every_n_steps:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            for row in rollout_rows(
                outputs["rollouts"], outputs["rewards"].terms, trainer.global_step, self.num_questions
            ):
                file.write(strict_json(row) + "\n")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for logger in run_loggers(trainer) if trainer.is_global_zero and self.path.exists() else ():
            logger.log_table(self.path, trainer.global_step)


def _is_until(line: str, step: int) -> bool:
    """Whether a line of the file is whole and of that update or an earlier one."""
    try:
        return json.loads(line)["step"] <= step
    except ValueError:  # half a line, at which the run was killed
        return False
