"""A decoding process in a stranger's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from datamodules.video.decode_pool import DecodeWorker


def test_a_worker_imports_nothing_from_the_working_folder(
    short_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("json", "av", "numpy", "datamodules", "encodings", "sitecustomize"):
        (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    worker = DecodeWorker()
    try:
        assert worker.probe(str(short_video)).num_frames > 0
    finally:
        worker.stop()
    assert not (tmp_path / "canary").exists()
