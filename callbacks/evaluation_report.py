"""The report of an evaluation: answers, where was looked, the card of conditions, numbers and costs."""

from __future__ import annotations

import shlex
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from rich.table import Table

from callbacks.provenance import environment
from callbacks.tracking.run_logger import how_to_look, run_loggers
from callbacks.worked_example import described, fields_of, worked_example
from modules.console import PlainConsole, console_for
from modules.distributed.ranks import exchange, gather_lists
from modules.evaluation.aggregate import Line
from modules.evaluation.answer_files import FILE_NAME, Answered, append_answers, unfinished_file, write_answers
from modules.evaluation.costs_table import cost_lines, cost_table
from modules.evaluation.exits_table import ExitLine, exit_lines, exit_table
from modules.evaluation.guesses import guesses
from modules.evaluation.question_table import table_of
from modules.evaluation.score_table import default_scorer, in_order, lacks_evidence, score_systems, score_table
from modules.evaluation.scorer_base import Scorer
from modules.evaluation.scorers import scorer
from modules.evaluation.trace_pages import FOLDER, write_traces
from modules.files.strict_json import strict_json
from modules.part_progress import PartProgress
from modules.records import Answer
from modules.selection.selection_files import write_selections
from modules.selection.selection_row import SelectionRow
from modules.systems.stage_data import data_of

TABLE, SUMMARY = "test_rows.csv", "test_summary.json"


class EvaluationReport(L.Callback):
    """Writes answers as they come; at the end ``answers.jsonl``, ``selections.parquet`` and ``.jsonl``, ``card.json``,
    ``scores.json``, ``costs.json``, ``test_rows.csv`` (a row a question and system) and ``test_summary.json``; of
    systems that reason in steps also ``exits.json`` and, a page a question, ``traces``; prints card and tables.

    Args:
        run_dir: where the files go.
        scorers: by name, or objects of one's own; ``option-logprob`` needs option scores, the others text; by default
            the one, or where there are no option scores ``strict-letter``. The first one's numbers go into
            ``test_rows.csv`` and to the loggers as ``test/accuracy_SYSTEM``.
        macro_over: group whose labels count alike, for benchmarks that report a macro average.
        published: numbers to print beside ours, with their source, e.g. ``{"paper, uniform": 58.9}``; percent.
        published_for: the data set that they are of; they are not printed under the results of another.
        columns: systems to print, in order, with the name they are printed under; all by default, the floor first.
        card: print the card; it is written anyway.
        next_command: printed last; ``{checkpoint}`` is replaced, and so are ``{video}``, ``{question}``, ``{options}``
            and ``{answer}``, by a question of the test whose answer is known, each as one word of a shell.
    """

    def __init__(
        self,
        *,
        run_dir: str,
        scorers: list[str | Scorer] | None = None,
        macro_over: str | None = None,
        published: dict[str, float] | None = None,
        published_for: str | None = None,
        columns: dict[str, str] | None = None,
        card: bool = True,
        next_command: str | None = None,
    ) -> None:
        self.run_dir, self.macro_over, self.published = Path(run_dir), macro_over, published or {}
        self.published_for = published_for
        self._named = [scorer(one) if isinstance(one, str) else one for one in scorers or ()]
        self.columns, self.card, self.next_command = columns, card, next_command
        self.scorers: list[Scorer] = self._named
        self.answered: list[Answered] = []
        self.selections: list[SelectionRow] = []
        self._updates_of_checkpoint = 0

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._updates_of_checkpoint = checkpoint.get("global_step", 0)  # a test by itself counts none

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.answered, self.selections = [], []
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self._unfinished = unfinished_file(self.run_dir, trainer.global_rank)
        self._unfinished.unlink(missing_ok=True)

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        answered = [Answered(reply.answer, reply.cost, reply.trace) for reply in outputs]
        self.answered += answered
        append_answers(self._unfinished, answered)
        self.selections += [reply.selection for reply in outputs if reply.selection is not None]

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        answered = gather_lists(self.answered, key=lambda a: (a.answer.sample_id, a.answer.system))
        answered.sort(key=lambda a: (a.answer.sample_id, a.answer.system))
        selections = gather_lists(self.selections, key=lambda s: (s.sample_id, s.sampler))
        selections.sort(key=lambda s: (s.sample_id, s.sampler))
        left_out = {video for bad in exchange(sorted(data_of(trainer).bad_videos)) for video in bad}
        if not trainer.is_global_zero:
            return
        answers = [a.answer for a in answered]
        self.scorers = self._named or [default_scorer(answers)]
        with PartProgress("Scoring the answers", None):
            scores = {s.name: score_systems(answers, s, self.macro_over) for s in self.scorers}
        write_answers(self.run_dir / FILE_NAME, answered)
        for rank in range(trainer.world_size):
            unfinished_file(self.run_dir, rank).unlink(missing_ok=True)
        for suffix in (".parquet", ".jsonl"):
            write_selections(self.run_dir / f"selections{suffix}", selections)
        card = self._card(trainer, pl_module, answers, len(left_out))
        exits = exit_lines(answered, self.scorers[0])
        self._write(answered, card, scores, exits)
        self._log(trainer, scores)
        self._print(trainer, answered, card, scores, exits)

    def _card(self, trainer: L.Trainer, pl_module: Any, answers: Sequence[Answer], num_left_out: int) -> dict[str, Any]:
        data = data_of(trainer).describe()
        return {
            "dataset": datasets_of(answers),
            "questions": len({a.sample_id for a in answers}),
            "videos": len({a.video for a in answers}),
            "videos left out": num_left_out,
            **({"right without a model": found} if (found := guesses(answers)) else {}),
            **pl_module.describe(),
            **data,
            "scorers": [s.name for s in self.scorers],
            "versions": environment(),
        }

    def _write(
        self,
        answered: Sequence[Answered],
        card: dict[str, Any],
        scores: Mapping[str, Mapping[str, list[Line]]],
        exits: Sequence[ExitLine],
    ) -> None:
        table_of(answered, self.scorers[0]).to_csv(self.run_dir / TABLE, index=False)
        first = scores[self.scorers[0].name]
        summary = [{"system": name, **vars(line)} for name, lines in first.items() for line in lines]
        numbers = {
            name: {system: [vars(line) for line in lines] for system, lines in systems.items()}
            for name, systems in scores.items()
        }
        files: dict[str, Any] = {
            "card.json": card,
            "scores.json": numbers,
            SUMMARY: summary,
            "costs.json": cost_lines(answered),
        }
        files |= {"exits.json": [vars(line) for line in exits]} if exits else {}
        for name, content in files.items():
            (self.run_dir / name).write_text(strict_json(content, indent=2) + "\n")
        write_traces(self.run_dir, answered)

    def _log(self, trainer: L.Trainer, scores: Mapping[str, Mapping[str, list[Line]]]) -> None:
        for name, systems in scores.items():
            plain = {system: system.replace(",", "") for system in systems}  # trackers take no commas
            first = {system: lines[0] for system, lines in systems.items() if lines}
            metrics = {
                f"eval/{name.replace('@', '-')}/{plain[system]}/{line.name}": line.value
                for system, line in first.items()
            }
            if name == self.scorers[0].name:
                metrics |= {f"test/accuracy_{plain[system]}": line.value for system, line in first.items()}
            for logger in trainer.loggers:
                logger.log_metrics(metrics, trainer.global_step or self._updates_of_checkpoint)
        for file in (FILE_NAME, "card.json", "scores.json", "costs.json", "selections.parquet", TABLE, SUMMARY):
            for taking in run_loggers(trainer):
                taking.log_file(self.run_dir / file)

    def _print(
        self,
        trainer: L.Trainer,
        answered: Sequence[Answered],
        card: dict[str, Any],
        scores: Mapping[str, Mapping[str, list[Line]]],
        exits: Sequence[ExitLine] = (),
    ) -> None:
        systems = {a.answer.system for a in answered}
        columns = {name: title for name, title in (self.columns or {}).items() if name in systems}
        columns = columns or in_order(systems)
        console, dataset = console_for(len(columns)), datasets_of(one.answer for one in answered)
        if self.card:
            console.print(card_table(card))
        for name, lines in scores.items():
            size = f"{card['questions']} questions, {card['videos']} videos"
            scored = {title: lines[s] for s, title in columns.items() if s in lines}
            console.print(score_table(scored, f"{name}, {dataset}, {size}"))
        console.print(cost_table(answered, columns))
        if exits:
            console.print(exit_table(exits, columns))
        if lacks_evidence([one.answer for one in answered]):
            console.print("oracle      not scored: no question says where its evidence is", soft_wrap=True)
        self._print_published(console, {one.answer.dataset for one in answered})
        console.print(f"run         {self.run_dir}")
        for name in ("images", FOLDER):
            if (self.run_dir / name).is_dir():
                console.print(f"{name:<12}{self.run_dir / name}")
        checkpoint = getattr(trainer.checkpoint_callback, "last_model_path", "") or trainer.ckpt_path or ""
        if not checkpoint and (saved := self.run_dir / "checkpoints" / "last.ckpt").is_file():
            checkpoint = str(saved)  # of a run that went on after its last update
        if checkpoint:
            console.print(f"checkpoint  {checkpoint}", soft_wrap=True)
        for place in how_to_look(trainer):
            console.print(f"look        {place}", soft_wrap=True)
        console.print(f"score again lightning score {self.run_dir} --scorer NAME", soft_wrap=True)
        console.print(f"compare     lightning compare {self.run_dir} OTHER_RUN", soft_wrap=True)
        console.print(f"one page    lightning report {self.run_dir} [OTHER_RUN ...]", soft_wrap=True)
        if self.next_command:
            self._print_next(console, [a.answer for a in answered], str(checkpoint))

    def _print_next(self, console: PlainConsole, answers: Sequence[Answer], checkpoint: str) -> None:
        """The next command; where it asks a question, with what this test had for an answer."""
        assert self.next_command is not None
        example = worked_example(answers)
        named = {name for _, name, _, _ in string.Formatter().parse(self.next_command) if name}
        if example is not None and "question" in named:
            for line in described(example):
                console.print(line, soft_wrap=True)
        fields = (
            dict.fromkeys(("video", "question", "options", "answer"), "") if example is None else fields_of(example)
        )
        command = self.next_command.format(checkpoint=shlex.quote(checkpoint), **fields)
        console.print(f"next        {command}", soft_wrap=True)

    def _print_published(self, console: PlainConsole, datasets: set[str]) -> None:
        if self.published and self.published_for is not None and datasets != {self.published_for}:
            ours = ", ".join(sorted(datasets))
            console.print(f"published   not shown: those numbers are of {self.published_for}, and these of {ours}")
            return
        for source, value in self.published.items():
            console.print(f"published   {value:.1f}  {source}")


def datasets_of(answers: Iterable[Answer]) -> str:
    """Data set and split that answers are of, e.g. ``mlvu/dev``."""
    return ", ".join(sorted({f"{a.dataset}/{a.split}" for a in answers}))


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
