"""Selections of strangers in other harnesses' forms: nothing is written outside of the folder that was named."""

from __future__ import annotations

from pathlib import Path

import pytest

from datamodules.questions.exports import export
from modules.files.file_names import file_name
from modules.selection.selection_row import SelectionRow


def selection(sample_id: str, video: Path) -> SelectionRow:
    return SelectionRow("d", "test", sample_id, str(video), "sampler", (0, 5))


def test_frames_stay_below_the_folder_that_was_named(short_video: Path, tmp_path: Path, caplog) -> None:
    out, outside = tmp_path / "a" / "b" / "out", tmp_path / "absolute"
    ids = ["../../escaped", str(outside), "..", "a\0b", "x" * 300, "con", "Q1"]
    assert export([selection(i, short_video) for i in ids], "vlmevalkit", out) == len(ids)
    written = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*.jpg"))
    assert len(written) == 2 * len(ids)
    assert {str(p.parent) for p in written} == {f"a/b/out/{file_name(i)}" for i in ids}
    assert "6 ids can be no names of folders" in caplog.text


@pytest.mark.parametrize("ids", [["Q1", "Q1"], ["Q1", "q1"]], ids=str)
def test_no_selection_replaces_another(ids: list[str], short_video: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"more than one selection|would share the name"):
        export([selection(i, short_video) for i in ids], "vlmevalkit", tmp_path / "out")
    assert not list(tmp_path.rglob("*.jpg"))
