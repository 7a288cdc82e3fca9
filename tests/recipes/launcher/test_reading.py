"""Text to values: numbers are numbers, words stay words."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipes.launcher.guard import ROOT
from recipes.launcher.reading import read_file, read_value, with_own_files

NUMBERS = {
    "1e-5": 1e-5,
    "1E5": 1e5,
    "+1e3": 1e3,
    "-2.5e-3": -2.5e-3,
    ".5": 0.5,
    "7": 7,
    "-7": -7,
    "0x10": 16,
    "010": 10,
}
WORDS = [
    "yes",
    "off",
    "12:30",
    "2026-01-02",
    "1_000",
    "Which is last: a circle?",
    "# of cups?",
    "What is # 3?",
    "[a bracket",
    '"Stop" he said',
    "{x} and more",
    "- a dash",
    "*star*",
    "&co",
    "a: b: c",
    "1e",
]


@pytest.mark.parametrize(("text", "value"), NUMBERS.items())
def test_numbers_are_the_same_in_a_file_and_on_the_command_line(text: str, value: float, tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(f"key: {text}\nlist: [{text}]\n")
    for found in (read_value(text), read_file(file)["key"], read_file(file)["list"][0], read_value(f"[{text}]")[0]):
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize("text", WORDS)
def test_words_stay_as_they_were_typed(text: str) -> None:
    assert read_value(text) == text


def test_structures_null_and_truth() -> None:
    assert read_value("{a: 1e-3, b: [x, true]}") == {"a": 1e-3, "b": ["x", True]}
    assert read_value("null") is None
    assert read_value("") is None
    assert read_value("true") is True
    assert read_value("'1e-5'") == "1e-5"
    assert read_value("${vars.x}") == "${vars.x}"


def test_every_recipe_reads_as_yaml_1_1_does_but_for_what_was_meant(tmp_path: Path) -> None:
    import yaml

    for file in (ROOT / "recipes").rglob("*.yaml"):
        assert read_file(file) == yaml.safe_load(file.read_text()), file


def test_own_files_are_found_where_the_working_folder_has_none(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "recipes/haystack/prompts/answer.txt"
    assert with_own_files({"a": [name, 3]}) == {"a": [str(ROOT / name), 3]}
    assert with_own_files("local-dir:recipes/haystack") == f"local-dir:{ROOT}/recipes/haystack"
    assert with_own_files("recipes/nothing.txt") == "recipes/nothing.txt"
    own = tmp_path / name
    own.parent.mkdir(parents=True)
    own.touch()
    assert with_own_files(name) == name
