"""A published file, imported by the real job over a real video, and run as a system's frames."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from datamodules.annotations.multiple_choice import MultipleChoice
from datamodules.questions.annotated import AnnotatedVideos
from datamodules.video.video_info import probe
from modules.methods.training_free.precomputed import Precomputed
from modules.methods.training_free.released.aks_lists import AKSLists
from modules.methods.training_free.released.wfs_sb_indices import WFSSBIndices
from recipes.jobs.import_selections import ImportSelections


def test_a_file_becomes_selections_and_another_encode_is_refused(
    short_video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = tmp_path / "questions.csv"
    table.write_text(
        "id,video,question,options,answer\n"
        + "".join(f'q{n},{short_video.name},Which colour?,"red;blue",red\n' for n in range(3))
    )
    source = MultipleChoice(annotations=str(table), videos=str(short_video.parent), separator=";")
    data = AnnotatedVideos(test=source)
    released = tmp_path / "theirs.json"
    released.write_text(json.dumps([{"id": f"q{n}", "keyframe_indices": [0, 10, 20 + n]} for n in (0, 2)]))
    out = tmp_path / "ours.parquet"
    job = ImportSelections(data=data, released=WFSSBIndices(path=str(released)), out=str(out), system="WFS-SB")
    with caplog.at_level(logging.WARNING):
        job.run(tmp_path)
    assert "1 of 3 questions have no selection" in caplog.text
    rows = Precomputed(path=str(out), sampler="WFS-SB").rows
    assert {name: row.frame_ids for name, row in rows.items()} == {"q0": (0, 10, 20), "q2": (0, 10, 22)}
    times = probe(str(short_video)).timestamps_s
    assert rows["q2"].timestamps_s == tuple(round(float(times[i]), 6) for i in (0, 10, 22))
    released.write_text(json.dumps([[0], [1], [10**6]]))
    with pytest.raises(ValueError, match=r"row 3: frames is 1000000; allowed: frames of .*another encode"):
        ImportSelections(data=data, released=AKSLists(path=str(released)), out=str(out), system="AKS").run(tmp_path)
    released.write_text(json.dumps([{"id": "elsewhere", "keyframe_indices": [0]}]))
    with pytest.raises(ValueError, match="no row that belongs to one of the 3 questions"):
        ImportSelections(data=data, released=WFSSBIndices(path=str(released)), out=str(out), system="x").run(tmp_path)
