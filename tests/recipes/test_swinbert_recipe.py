"""SwinBERT by its commands: a training of two updates, and the folder that it leaves captions other videos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recipe_commands import start

from recipes.launcher.guard import ROOT

SMALL = [f"--data.num_{split}_videos" for split in ("train", "val", "test")]


def run(cwd: Path, *words: str) -> str:
    process = start(cwd, "run", *words)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-4000:]
    return output


@pytest.mark.long
def test_a_training_leaves_a_captioner_of_any_folder(tmp_path: Path) -> None:
    few = [word for name in SMALL for word in (name, "4")]
    steps = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--data.batch_size", "2"]
    said = run(tmp_path, str(ROOT / "recipes/swinbert.yaml"), *few, *steps, "--run_dir", "outputs/small")
    assert "most frequent caption" in said
    assert list((tmp_path / "outputs/small/images").glob("mask_*.png"))

    overlay = ["--overlay", str(ROOT / "recipes/overlays/caption_swinbert.yaml"), "--model", "outputs/small/model"]
    videos = next((tmp_path / "data").rglob("*.mp4")).parent
    run(tmp_path, str(ROOT / "recipes/data/caption.yaml"), *overlay, "--videos", str(videos), "--out", "said.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert {row["video"] for row in rows} == {path.name for path in videos.glob("*.mp4")}
