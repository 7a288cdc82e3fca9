"""A part's progress: lines in a file that grow rarer, a bar in a terminal, nothing of what is through at once."""

from __future__ import annotations

import pytest

from modules import part_progress
from modules.part_progress import PartProgress, duration, tracked


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time, as its only entry."""
    now = [100.0]
    monkeypatch.setattr(part_progress.time, "monotonic", lambda: now[0])
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    return now


def test_a_file_gets_a_line_now_and_then(clock: list[float], capsys) -> None:
    with PartProgress("Writing [/] videos", 1000, "videos") as part:
        for _ in range(1000):
            clock[0] += 1.0
            part.advance()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [f"Writing [/] videos: {n}/1000 videos, {duration(1000 - n)} left" for n in (2, 4, 8, 16)]
    assert lines[-1] == "Writing [/] videos: 1000/1000 videos, 16 min 40 s"
    assert [int(line.split()[3].partition("/")[0]) for line in lines] == [2, 4, 8, 16, 32, 64, 128, 256, 512, 812, 1000]


def test_what_is_through_at_once_leaves_nothing(clock: list[float], capsys) -> None:
    assert list(tracked("abc", "Reading", 3, "letters")) == ["a", "b", "c"]
    with PartProgress("Hidden", 2, quiet=True) as part:
        clock[0] += 60.0
        part.update(1)
    assert capsys.readouterr().out == ""


def test_what_was_cut_off_is_not_said_to_be_through(clock: list[float], capsys) -> None:
    def late() -> None:
        with PartProgress("Reading", 3):
            clock[0] += 60.0
            raise KeyError

    with pytest.raises(KeyError):
        late()
    assert capsys.readouterr().out == ""


def test_time_left_does_not_count_what_was_done_before(clock: list[float]) -> None:
    with PartProgress("Training", 300, "updates", completed=200, quiet=True) as part:
        clock[0] += 10.0
        part.update(210, "reward/total 0.5")
        assert part.account() == "210/300 updates, reward/total 0.5, 1 min 30 s left"
        part.update(211)
        assert "reward/total 0.5" in part.account()


def test_an_unknown_number_is_said_once(clock: list[float], capsys) -> None:
    with PartProgress("Loading", None):
        clock[0] += 60.0
    assert capsys.readouterr().out == "Loading ...\n"


def test_a_terminal_gets_a_bar_that_makes_room(clock: list[float], capsys, monkeypatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with PartProgress("Training", 3, "updates") as part:
        clock[0] += 5.0
        part.update(1)
        part.pause()
        with PartProgress("Validating", 1, "batches") as inner:
            inner.advance()
        part.go_on()
        clock[0] += 5.0
        part.update(3)
    drawn = capsys.readouterr().out
    assert "Validating" in drawn
    assert "3/3 updates, 10 s" in drawn.rpartition("Training")[2]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (61.0, "1 min 1 s"), (3599.0, "59 min 59 s"), (7440.0, "2 h 4 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
