"""ReFoCUS's variance filter: its sixteen subsets, and what it keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from datamodules.haystack.datamodule import HaystackData
from datamodules.video.decoding_settings import DecodingSettings
from modules.mllms.base import Row
from modules.mllms.llava_onevision import LlavaOnevision
from recipes.jobs.margin_variance import MarginVariance, structured_subsets


def test_windows_and_what_they_leave() -> None:
    subsets = structured_subsets(32, 8)
    assert len(subsets) == 16
    windows, complements = subsets[:8], subsets[8:]
    assert [w.tolist() for w in windows[:2]] == [list(range(8)), list(range(4, 12))]
    assert windows[7].tolist() == [0, 1, 2, 3, 28, 29, 30, 31]  # round the ends
    for window, complement in zip(windows, complements, strict=True):
        assert len(complement) == 8
        assert not set(window.tolist()) & set(complement.tolist())
        assert complement.diff().min() > 0
    whole = structured_subsets(32, 99)
    assert all(sorted(w.tolist() + c.tolist()) == list(range(32)) for w, c in zip(whole[:8], whole[8:], strict=True))


def test_few_frames_make_subsets_too() -> None:
    assert all(len(s) for s in structured_subsets(8, 32))


class Watching(LlavaOnevision):
    """Sure of itself where it sees the first quarter of the video, for every other question; else undecided."""

    def score_rows(self, rows: list[Row]) -> Tensor:
        self.asked = getattr(self, "asked", 0) + len(rows)
        scores = torch.zeros(len(rows), len(rows[0].question.options))
        for n, row in enumerate(rows):
            seen = float(row.timestamps_s.min()) < row.frames.timestamps_s.max() / 8
            if int(row.question.sample_id[-1]) % 2 and seen:
                scores[n, row.question.answer_index] = 8.0
        return scores.log_softmax(-1)


def test_only_what_depends_on_the_part_is_kept(short_world, blank_vlm: Path, tmp_path: Path, capsys) -> None:
    def job(**settings: float) -> MarginVariance:
        data = HaystackData(
            world=short_world,
            root=str(tmp_path / "videos"),
            num_train_videos=1,
            num_val_videos=0,
            num_test_videos=0,
            decoding=DecodingSettings(num_workers=1),
        )
        return MarginVariance(
            data=data, mllm=Watching(path=str(blank_vlm)), out=str(tmp_path / "kept.jsonl"), num_frames=8, **settings
        )

    first = job()
    first.run(tmp_path / "run")
    questions = first.data.questions("train")
    odd = [q.sample_id for q in questions if int(q.sample_id[-1]) % 2]
    kept = [json.loads(line) for line in (tmp_path / "kept.jsonl").read_text().splitlines()]
    assert [row["id"] for row in kept] == odd != []
    assert all(row["margin_variance"] > 0.2 for row in kept)
    counts = json.loads((tmp_path / "run" / "counts.json").read_text())
    assert counts == {"total": len(questions), "kept": len(odd), "variance of at most 0.2": len(questions) - len(odd)}
    assert "--data.filter.train_ids" in capsys.readouterr().out
    assert first.mllm.asked == 16 * len(questions)

    again = job(min_variance=0.9)  # a stricter threshold asks nobody
    again.run(tmp_path / "run")
    assert not hasattr(again.mllm, "asked")
    assert (tmp_path / "kept.jsonl").read_text() == ""
    margins = tmp_path / "kept.margins.jsonl"
    whole = margins.read_text()
    margins.write_text(whole[: len(whole) // 2])  # cut off in the middle of a line
    job().run(tmp_path / "run")
    assert margins.read_text().splitlines() == pytest.approx(whole.splitlines())
