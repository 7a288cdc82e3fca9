"""What docs/first_hour.md shows is what is said: its files are written, its checks and lists run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from recipes.launcher.cli import main
from recipes.launcher.guard import ROOT

PAGE = (ROOT / "docs" / "first_hour.md").read_text()
FILES = dict(re.findall(r"^File `([^`]+)`:\n+```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
SHOWN = re.findall(r"^```sh\n([^`]*)^```\n+^```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
"""Commands with what they print."""
CHEAP = re.compile(r"^lightning (check .*|ls) *(\| head -\d)?$")
RUN = [(command.splitlines()[-1], text) for command, text in SHOWN if CHEAP.match(command.splitlines()[-1])]


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's folder of a person's own, with the files that it shows."""
    folder = tmp_path / "kitchen"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)
    return folder


def test_the_page_has_files_and_commands_to_run() -> None:
    assert sorted(FILES) == ["brevity.yaml", "my_reward.py", "nameless.yaml", "questions.csv"]
    assert len(RUN) > 9


@pytest.mark.parametrize(("command", "text"), RUN, ids=[command for command, _ in RUN])
def test_a_command_says_what_the_page_shows(command: str, text: str, kitchen: Path, capsys) -> None:
    words, _, head = command.removeprefix("lightning ").partition("| head -")
    try:
        main(shlex.split(words))
        said = capsys.readouterr().out
    except SystemExit as end:
        said = f"{end}\n"
    lines = said.replace(str(kitchen), "~/kitchen").splitlines()
    # how wide a column is depends on the longest name in it
    narrow = [re.sub(" {3,}", "  ", line) for line in lines[: int(head) if head else None]]
    assert narrow == [re.sub(" {3,}", "  ", line) for line in text.splitlines()]


def test_the_table_is_read_as_the_page_says(kitchen: Path) -> None:
    from datamodules.annotations.multiple_choice import MultipleChoice

    (kitchen / "clips").mkdir()
    for n in range(2):
        (kitchen / "clips" / f"v{n}.mp4").touch()
    for separator, encoding in ((";", "utf-8"), (";", "utf-8-sig"), (",", "utf-8-sig")):
        Path("questions.csv").write_text(FILES["questions.csv"].replace(";", separator), encoding=encoding)
        questions = MultipleChoice(annotations="questions.csv", answers="letter").load().questions
        assert [(q.options[q.answer_index], len(q.options)) for q in questions] == [("butter", 3), ("right", 2)]
