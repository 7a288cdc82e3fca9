"""Whatever strangers wrote is printed as they wrote it, in every table and on every line."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from callbacks.answer_sheet import AnswerSheet
from callbacks.evaluation_report import EvaluationReport
from callbacks.timeline_picture import save_figure, timeline_figure
from datamodules.annotations.base import Annotations, Manifest
from modules.console import PlainConsole
from modules.evaluation.answer_files import Answered, write_answers
from modules.evaluation.score_table import score_systems
from modules.records import Answer, Candidates, Cost, QuestionBatch, VideoQuestion
from modules.selection.selection_row import SelectionRow
from modules.systems.base import Reply
from modules.systems.yardsticks import Blind
from recipes.jobs.inspect import manifest_table
from recipes.launcher.results import score

HOSTILE = "[/x] [bold]b[/] :star: [red"


def test_a_line_is_printed_as_it_is(capsys) -> None:
    PlainConsole(soft_wrap=True).print(HOSTILE, "\x1b[2J\x07\u009b", "\ud800", style="bold")
    assert capsys.readouterr().out == f"{HOSTILE} \ufffd[2J\ufffd\ufffd ?\n"


def test_score_prints_hostile_groups_systems_and_texts(tmp_path: Path, capsys) -> None:
    more = {"dataset": "d", "split": "s", "sample_id": "q", "video": "v", "question": HOSTILE, "options": ("a", "b")}
    answer = Answer(
        **more, system="[/system]", answer_index=0, text="A", option_log_probs=(-0.1, -2.0), groups={"[/g]": "[/x]"}
    )
    write_answers(tmp_path / "answers.jsonl", [Answered(answer)])
    score(str(tmp_path), ["option-logprob"], "[/g]")
    printed = capsys.readouterr().out
    assert "[/system]" in printed
    assert "[/g]=[/x]" in printed


def test_the_table_at_the_end_prints_hostile_kinds(tmp_path: Path, capsys) -> None:
    answered = [
        Answered(
            Answer(
                "d",
                "s",
                f"q{n}",
                f"[/v]{n}",
                system,
                "?",
                ("a", "b"),
                0,
                option_log_probs=(-0.1, -2.0),
                groups={"kind": "[/x]"},
            ),
            Cost(calls=1),
        )
        for n in range(2)
        for system in ("uniform", "after")
    ]
    report = EvaluationReport(run_dir=str(tmp_path), next_command="lightning ask {video} [/y]")
    scores = {"option-logprob@1": score_systems([a.answer for a in answered], "option-logprob", None)}
    trainer: Any = SimpleNamespace(checkpoint_callback=None, ckpt_path="", loggers=[])
    report._print(trainer, answered, {"questions": 2, "videos": 2, "prompt": "[/p]"}, scores)
    printed = capsys.readouterr().out
    assert "[/x]" in printed
    assert "[/p]" in printed
    assert "lightning ask '[/v]0' [/y]" in printed


@pytest.mark.parametrize(("dataset", "shown"), [("mlvu", True), ("mine", False)])
def test_published_numbers_stand_under_results_of_their_own_data_set(
    dataset: str, shown: bool, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    answered = [
        Answered(
            Answer(dataset, "test", f"q{n}", "v", system, "?", ("a", "b"), 0, option_log_probs=(-0.1, -2.0)), Cost()
        )
        for n in range(2)
        for system in ("uniform", "oracle")
    ]
    report = EvaluationReport(run_dir=str(tmp_path), published={"a paper": 65.1}, published_for="mlvu")
    scores = {"option-logprob@1": score_systems([a.answer for a in answered], "option-logprob", None)}
    trainer: Any = SimpleNamespace(checkpoint_callback=None, ckpt_path="", loggers=[])
    report._print(trainer, answered, {"questions": 2, "videos": 1}, scores)
    printed = capsys.readouterr().out
    assert ("published   65.1  a paper" in printed) == shown
    assert ("published   not shown: those numbers are of mlvu, and these of mine" in printed) != shown
    assert f"option-logprob@1, {dataset}/test, 2 questions" in " ".join(printed.split())
    assert "oracle      not scored: no question says where its evidence is" in printed


def test_inspect_prints_hostile_manifests(capsys) -> None:
    manifest = Manifest("[/d]", "[/s]", {"[/f]": "0" * 64}, 1, 1, 1)
    manifest.groups, manifest.dropped, manifest.unexpected = {"[/g]": {"[/l]": 1}}, {"[/r]": ["[/q]"]}, ["[/w]"]
    PlainConsole().print(manifest_table(Annotations([], manifest), []))
    printed = capsys.readouterr().out
    assert all(f"[/{part}]" in printed for part in "dsfglrqw")


def test_ask_prints_hostile_questions_and_answers(tmp_path: Path, capsys) -> None:
    question = VideoQuestion("d", "s", "q", "[/v].mp4", 2.0, HOSTILE, ("[/a] $x_", "b"), 0)
    candidates, times = Candidates("v", torch.arange(2), torch.arange(2.0), 2.0), torch.arange(2.0)[None]
    batch = QuestionBatch([question], [candidates], torch.zeros(1, 2, 1), times >= 0, times, torch.zeros(1, 1, 1))
    row = SelectionRow("d", "s", "q", "v", "sampler", (0, 1), (0.0, 1.0))
    answer = Answer(
        "d",
        "s",
        "q",
        "v",
        "sampler",
        HOSTILE,
        ("[/a] $x_", "b"),
        0,
        text="[/t] $5_{",
        option_log_probs=(-0.1, -2.0),
        timestamps_s=(0.0, 1.0),
    )
    module: Any = SimpleNamespace(systems={"sampler": Blind()})
    frames = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    trainer: Any = SimpleNamespace(is_global_zero=True, datamodule=SimpleNamespace(decode=lambda *_: frames))
    sheet = AnswerSheet(run_dir=str(tmp_path))
    assert isinstance(sheet, Callback)
    sheet.on_predict_batch_end(trainer, module, [Reply(answer, row, Cost(frames_shown=2))], batch, 0)
    printed = capsys.readouterr().out
    assert f"question    {HOSTILE}" in printed
    assert "answer      [/a] $x_   (in its own words: [/t] $5_{)" in printed
    assert "0 frames decoded, 2 shown" in printed
    unread = replace(answer, option_log_probs=(-math.inf, -math.inf))
    sheet.on_predict_batch_end(trainer, module, [Reply(unread, row, Cost())], batch, 0)
    assert "answer      none of the options" in capsys.readouterr().out
    with pytest.raises(ValueError, match="cannot be decoded"):
        sheet.on_predict_batch_end(trainer, module, [Reply(replace(unread, text=""), row, Cost())], batch, 0)


@pytest.mark.parametrize("title", ["It costs $5 or $x_{", "$\\frac$", "$\\input{x}$", "a\nb\tc", ""])
def test_titles_are_no_formulas(title: str, tmp_path: Path) -> None:
    times = torch.arange(3.0).numpy()
    thumbnails = torch.zeros(1, 8, 8, 3, dtype=torch.uint8).numpy()
    figure = timeline_figure(
        title=title,
        timestamps_s=times,
        scores=None,
        chosen=times[:1].astype(int),
        thumbnails=thumbnails,
    )
    save_figure(figure, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000
