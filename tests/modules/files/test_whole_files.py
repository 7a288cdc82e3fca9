"""Files that appear whole may be read by whoever may read new files of their folder, whatever library wrote them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from modules.files.whole_files import appearing


@pytest.fixture(params=[0o022, 0o027, 0o077], ids=oct)
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_file_has_the_mode_of_any_new_file(tmp_path: Path, mask: int) -> None:
    with appearing(tmp_path / "features.safetensors", "features") as place:
        save_file({"a": torch.ones(3)}, place)
    assert mode(tmp_path / "features.safetensors") == 0o666 & ~mask
    assert load_file(tmp_path / "features.safetensors")["a"].sum() == 3
    assert [path.name for path in tmp_path.iterdir()] == ["features.safetensors"]


def test_so_has_each_file_of_a_folder_and_what_others_may_read_stays(tmp_path: Path, mask: int) -> None:
    with appearing(tmp_path / "model", "model") as place:
        (place / "parts").mkdir(parents=True)
        save_file({"a": torch.ones(3)}, place / "parts" / "weights.safetensors")
        (place / "run.sh").write_text("")
        (place / "run.sh").chmod(0o750)
    assert mode(tmp_path / "model" / "parts" / "weights.safetensors") == 0o666 & ~mask
    assert mode(tmp_path / "model" / "run.sh") == 0o750
