"""Tables of several seeds, by hand: two runs, three videos with a question each, three systems."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from seeds import Questions, by_evidence, by_kind, by_system, load, paired

RIGHT = {"uniform": [[0, 0, 1], [0, 0, 1]], "after": [[1, 0, 1], [1, 1, 1]], "oracle": [[1, 1, 1], [1, 1, 1]]}
FOUND = {"uniform": [0.0, 0.5, 1.0], "after": [1.0, 0.0, 1.0], "oracle": [1.0, 1.0, 1.0]}


def runs(folder: Path) -> list[str]:
    for number in range(2):
        rows = [
            {
                "sample_id": f"00{video}",
                "video": f"v{video}",
                "kind": "needle" if video else "count",
                "system": system,
                "correct": RIGHT[system][number][video],
                "probability": 0.25,
                "evidence_found": FOUND[system][video],
            }
            for video in range(3)
            for system in RIGHT
        ]
        (folder / f"s{number}").mkdir()
        pd.DataFrame(rows).to_csv(folder / f"s{number}/test_rows.csv", index=False)
    return [str(folder / "s0"), str(folder / "s1")]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_question_counts_once_and_a_run_is_a_seed(tmp_path: Path) -> None:
    rows = load(runs(tmp_path))
    assert rows["sample_id"].tolist()[0] == "000"  # no number
    questions = Questions(rows)
    assert questions.values["after"].tolist() == [1.0, 0.5, 1.0]
    assert list(questions.values) == ["uniform", "after", "oracle"]
    table = {cells(line)[0]: cells(line) for line in by_system(rows)[2:]}
    assert table["after"][1].startswith("0.833 [0.500, 1.000]")
    assert table["after"][2:4] == ["0.667, 1.000", "0.236"]  # the standard deviation of the two
    assert table["after"][4:6] == ["0.67", f"{math.log(4):.2f}"]
    assert table["after"][6].startswith("0.75 ")  # from 1/3 to 1
    assert table["uniform"][7].startswith("+0.500 ")


def test_by_kind_and_by_what_was_found(tmp_path: Path) -> None:
    rows = load(runs(tmp_path))
    head, _, *lines = map(cells, by_kind(rows))
    needle = dict(zip(head, next(line for line in lines if line[0] == "needle"), strict=True))
    assert (needle["questions"], needle["after"], needle["evidence found: after"]) == ("2", "0.750", "0.50")
    found = [cells(line)[:5] for line in by_evidence(rows)[2:]]
    assert ["uniform", "all", "a part", "2", "0.00"] in found
    assert ["after", "needle", "none", "2", "0.50"] in found
    assert set(load([str(tmp_path / "s0")], ["count"])["kind"]) == {"count"}


def test_two_sets_of_runs_are_paired_by_question(tmp_path: Path) -> None:
    first, second = (Questions(load([run])) for run in runs(tmp_path))
    assert paired(second, first).splitlines()[1:][1].startswith("- after: +0.333 ")
    with pytest.raises(ValueError, match="not asked the same questions"):
        paired(first, Questions(load([str(tmp_path / "s0")], ["count"])))


def test_any_system_may_be_the_one_that_others_are_held_against(tmp_path: Path) -> None:
    rows = load(runs(tmp_path))
    rows["system"] = rows["system"].replace("after", "kairos")
    head, _, *lines = by_system(rows, "kairos")
    assert cells(head)[-1] == "kairos is better by"
    assert [cells(line)[0] for line in lines] == ["uniform", "oracle", "kairos"]
    assert cells(lines[0])[-1].startswith("+0.500")
