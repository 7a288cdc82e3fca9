"""Ids of strangers as names of files."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from modules.files.file_names import file_name, file_names

HOSTILE = [
    "../../x",
    "..",
    ".",
    "/etc/passwd",
    "a/../../b",
    "a\\..\\b",
    "a\0b",
    "x" * 300,
    "é" * 150,
    "",
    " ",
    "con",
    "NUL",
    "com1.txt",
    "a:b",
    "a\nb",
    "~",
    "-rf",
    ".bashrc",
    "a.",
    "a ",
    "\ud800",
    "\u202egpj.exe",
    "*?",
    "C:\\x",
]


@pytest.mark.parametrize("identity", HOSTILE, ids=repr)
def test_a_name_lies_in_its_folder_and_can_be_written(identity: str, tmp_path: Path) -> None:
    name = file_name(identity)
    place = tmp_path / "out" / name
    place.mkdir(parents=True)
    assert place.resolve().parent == (tmp_path / "out").resolve()
    assert 0 < len(name.encode()) <= 200
    assert not name.startswith((".", "-"))
    assert name.isprintable()


@pytest.mark.parametrize("identity", ["Q12-a", "fa3_-Zz=0", "7", "日本-1", "v_x@2.5", "two words"])
def test_ordinary_ids_stay_as_they_are(identity: str) -> None:
    assert file_name(identity) == identity


def test_different_ids_have_different_names() -> None:
    rng = random.Random(0)
    ids = {"".join(rng.choices("ab./\\ \0~é", k=rng.randint(0, 12))) for _ in range(5000)}
    assert len(set(file_names(ids).values())) == len(ids)


def test_ids_that_would_share_a_name_are_refused() -> None:
    for pair in (["Q1", "q1"], ["../x", file_name("../x")], ["\ufb01", "fi"]):
        with pytest.raises(ValueError, match="would share the name"):
            file_names(pair)
