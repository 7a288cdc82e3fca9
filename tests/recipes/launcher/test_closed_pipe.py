"""Commands whose reader has gone end without a word, as ``ls | head`` does; what is no such thing stays a mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.launcher.closed_pipe import STATUS, quiet_if_closed
from recipes.launcher.guard import ROOT


def without_reader(*words: str, cwd: Path = ROOT, unbuffered: str = "") -> tuple[int, str]:
    """Exit status of a command whose standard output nobody reads, and what it said on standard error."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, *words],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "words",
    [["ls"], ["run", "recipes/tspo.yaml", "--help"], ["check", "recipes/tspo.yaml"], ["cache", "ls", "--root", "."]],
    ids=" ".join,
)
def test_what_is_printed_into_a_closed_pipe_is_no_mistake(words: list[str], unbuffered: str) -> None:
    assert without_reader("-m", "recipes", *words, unbuffered=unbuffered) == (STATUS, "")


def test_a_help_text_ends_quietly_as_well() -> None:
    assert without_reader("-m", "recipes", "--help") == (STATUS, "")


def test_a_table_of_scores_ends_quietly(tmp_path: Path) -> None:
    from modules.evaluation.answer_files import Answered, write_answers
    from modules.records import Answer

    answer = Answer("made", "test", "q", "v.mp4", "uniform", "Which?", ("one", "two"), 0, option_log_probs=(-0.1, -2.4))
    write_answers(tmp_path / "answers.jsonl", [Answered(answer)])
    status, said = without_reader("-m", "recipes", "score", "answers.jsonl", cwd=tmp_path)
    assert (status, said) == (0, "")  # it has written its reports, whoever reads the table


def test_a_mistake_is_still_told() -> None:
    status, said = without_reader("-m", "recipes", "check", "recipes/tspo.yaml", "--model.no_such_key", "1")
    assert status == 1
    assert "no such key" in said
    assert "Broken pipe" not in said


def test_a_connection_that_another_has_closed_is_a_mistake() -> None:
    with pytest.raises(BrokenPipeError, match="a server"), quiet_if_closed():
        raise BrokenPipeError("a server")
