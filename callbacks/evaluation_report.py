"""The report of an evaluation: raw answers, selections, the card that says under what conditions, and the numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from rich.table import Table

from callbacks.provenance import environment
from callbacks.tracking.mlflow_logger import mlflow_logger
from modules.console import PlainConsole
from modules.distributed.ranks import exchange, gather_lists
from modules.evaluation.aggregate import Line, judge, report
from modules.evaluation.answer_files import FILE_NAME, append_answers, unfinished_file, write_answers
from modules.evaluation.grounding import grounding_metrics
from modules.evaluation.scorers import scorer
from modules.records import Answer
from modules.selection.selection_files import SelectionRow, write_selections


class EvaluationReport(L.Callback):
    """Writes answers as they come; at the end ``answers.jsonl``, ``selections.parquet``, ``selections.jsonl``,
    ``card.json`` and ``scores.json``; prints the card and a table.

    Args:
        run_dir: where the files go.
        scorers: by name; ``option-logprob`` needs option scores, the others text.
        macro_over: group whose labels count alike, for benchmarks that report a macro average.
        published: numbers to print beside ours, with their source, e.g. ``{"paper, uniform": 58.9}``; percent.
    """

    def __init__(
        self,
        *,
        run_dir: str,
        scorers: list[str] | None = None,
        macro_over: str | None = None,
        published: dict[str, float] | None = None,
    ) -> None:
        self.run_dir, self.macro_over, self.published = Path(run_dir), macro_over, published or {}
        self.scorers = [scorer(name) for name in scorers or ["option-logprob"]]
        self.answers: list[Answer] = []
        self.selections: list[SelectionRow] = []

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.answers, self.selections = [], []
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self._unfinished = unfinished_file(self.run_dir, trainer.global_rank)
        self._unfinished.unlink(missing_ok=True)

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        self.answers += [answer for answer, _ in outputs]
        append_answers(self._unfinished, [answer for answer, _ in outputs])
        self.selections += [row for _, row in outputs if row is not None]

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        answers = gather_lists(self.answers, key=lambda a: (a.sample_id, a.arm))
        answers.sort(key=lambda a: (a.sample_id, a.arm))
        selections = gather_lists(self.selections, key=lambda s: (s.sample_id, s.sampler))
        selections.sort(key=lambda s: (s.sample_id, s.sampler))
        left_out = {video for bad in exchange(sorted(trainer.datamodule.bad_videos)) for video in bad}  # type: ignore[attr-defined]
        if not trainer.is_global_zero:
            return
        write_answers(self.run_dir / FILE_NAME, answers)
        for rank in range(trainer.world_size):
            unfinished_file(self.run_dir, rank).unlink(missing_ok=True)
        for suffix in (".parquet", ".jsonl"):
            write_selections(self.run_dir / f"selections{suffix}", selections)
        card = self._card(trainer, pl_module, answers, len(left_out))
        (self.run_dir / "card.json").write_text(json.dumps(card, indent=2) + "\n")
        scores = {s.name: score_arms(answers, s.name, self.macro_over) for s in self.scorers}
        (self.run_dir / "scores.json").write_text(json.dumps(scores, indent=2, default=lambda line: vars(line)) + "\n")
        self._log(trainer, scores)
        console = console_for(answers)
        console.print(card_table(card))
        for name, arms in scores.items():
            console.print(score_table(arms, name))
        for source, value in self.published.items():
            console.print(f"published   {value:.1f}  {source}")
        console.print(f"run         {self.run_dir}")
        console.print(f"score again lightning score {self.run_dir} --scorer NAME")
        console.print(f"compare     lightning compare {self.run_dir} OTHER_RUN")

    def _card(self, trainer: L.Trainer, pl_module: Any, answers: Sequence[Answer], num_left_out: int) -> dict[str, Any]:
        data = trainer.datamodule.describe()  # type: ignore[attr-defined]
        return {
            "dataset": ", ".join(sorted({f"{a.dataset}/{a.split}" for a in answers})),
            "questions": len({a.sample_id for a in answers}), "videos": len({a.video for a in answers}),
            "videos left out": num_left_out, **pl_module.describe(), **data,
            "scorers": [s.name for s in self.scorers], "versions": environment(),
        }  # fmt: skip

    def _log(self, trainer: L.Trainer, scores: dict[str, dict[str, list[Line]]]) -> None:
        if (mlflow := mlflow_logger(trainer)) is None:
            return
        for name, arms in scores.items():
            plain = name.replace("@", "-")
            metrics = {f"eval/{plain}/{arm}/{lines[0].name}": lines[0].value for arm, lines in arms.items() if lines}
            mlflow.log_metrics(metrics, 0)
        for file in (FILE_NAME, "card.json", "scores.json", "selections.parquet"):
            mlflow.log_file(self.run_dir / file)


def score_arms(answers: Sequence[Answer], scorer_name: str, macro_over: str | None) -> dict[str, list[Line]]:
    """The lines of every arm under one scorer; grounding metrics join where evidence is known (NExT-GQA)."""
    found = {}
    for arm in sorted({a.arm for a in answers}):
        judged = judge([a for a in answers if a.arm == arm], scorer(scorer_name))
        lines = report(judged, macro_over)
        if lines:
            grounded = grounding_metrics(judged) if judged.answers[0].dataset == "nextgqa" else {}
            size = sum(bool(a.evidence_s) for a in judged.answers)
            lines += [Line(name, size, value, float("nan"), float("nan")) for name, value in grounded.items()]
            unread = judged.num_unread / len(judged.answers)
            lines.append(Line("no option read", len(judged.answers), unread, float("nan"), float("nan")))
        found[arm] = lines
    return found


def card_table(card: dict[str, Any]) -> Table:
    """The evaluation card, a line a fact."""
    table = Table(title="Evaluation card", show_header=False, title_justify="left")
    for key, value in card.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        elif isinstance(value, (list, tuple)):
            value = ", ".join(map(str, value))
        table.add_row(key, str(value))
    return table


def console_for(answers: Sequence[Answer]) -> PlainConsole:
    """A console on which the table of all their arms keeps its words whole, whatever the terminal says it is."""
    num_arms = len({answer.arm for answer in answers})
    return PlainConsole(at_least=max(100, 30 + 21 * num_arms))


def score_table(arms: dict[str, list[Line]], title: str) -> Table:
    """Lines against arms, in percent with 95 % intervals clustered by video (none where there is one video)."""
    table = Table(title=f"{title}, %", title_justify="left")
    table.add_column("")
    table.add_column("questions", justify="right")
    for arm in arms:
        table.add_column(arm, justify="right")
    by_name = {arm: {line.name: line for line in lines} for arm, lines in arms.items()}
    names = list(dict.fromkeys(name for lines in by_name.values() for name in lines))
    for name in names:
        cells, size = [], ""
        for lines in by_name.values():
            line = lines.get(name)
            size = str(line.num_questions) if line else size
            cells.append("" if line is None else _cell(line))
        table.add_row(name, size, *cells, style="bold" if name == "micro" or name.startswith("macro") else None)
    return table


def _cell(line: Line) -> str:
    value = f"{100 * line.value:.1f}"
    return value if math.isnan(line.low) else f"{value} [{100 * line.low:.1f}, {100 * line.high:.1f}]"
