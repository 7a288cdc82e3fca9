"""Data of one's own, from a table and videos to a comparison: recipes/mine on files as people have them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datamodules.haystack.questions import ask
from datamodules.haystack.video_writing import write_video
from modules.evaluation.answer_files import read_answers
from modules.parsing import LETTERS
from recipes.launcher.cli import main
from recipes.launcher.guard import ROOT

SMALL = ["--overlay", str(ROOT / "recipes/overlays/small_models.yaml")]
OWN = ["--annotations", "mydata/questions.csv", "--answers", "letter", "--trainer.logger", "false"]
MY_MODEL = """
data:
  init_args:
    encoder:
      class_path: modules.encoders.open_clip.OpenCLIPEncoder
      init_args: {model: "local-dir:recipes/haystack/weights/clip"}
model:
  init_args:
    mllm:
      class_path: modules.mllms.llava_onevision.LlavaOnevision
      init_args:
        path: recipes/haystack/weights/vlm
        prompt: {answer_with: words, question_first: true}
    systems: {sampler: null}
    generate: true
    num_frames: 8
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, short_world) -> Path:
    """A folder elsewhere, with five videos and a table of questions on them."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "mydata" / "clips").mkdir(parents=True)
    with (folder / "mydata" / "questions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["video", "question", "options", "answer", "evidence_start", "evidence_end", "group_kind"])
        for n in range(5):
            path = folder / "mydata" / "clips" / f"v{n}.mp4"
            write_video(path, short_world, "test", n)
            plan, rng = short_world.plan("test", n), np.random.default_rng(n)
            for q in ask(plan, "test", str(path), {"needle": 1, "begin": 1}, rng):
                assert q.answer_index is not None
                table.writerow(
                    [
                        f"clips/v{n}.mp4",
                        q.question,
                        "|".join(q.options),
                        LETTERS[q.answer_index],
                        *q.evidence_s[0],
                        q.groups["kind"],
                    ]
                )
    return folder


@pytest.fixture
def run(workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Runs a recipe in the workplace, by its short name; what it printed."""

    def call(recipe: str, run_dir: str, *words: str) -> str:
        monkeypatch.chdir(workplace)
        monkeypatch.setenv("KAIROS_DEBUG", "1")
        monkeypatch.delenv("KAIROS_RUN_DIR", raising=False)
        main(["run", recipe, "--run_dir", run_dir, *OWN, *words])
        return capsys.readouterr().out

    return call


@pytest.mark.slow
def test_train_and_evaluate_side_by_side(run, workplace: Path, caplog: pytest.LogCaptureFixture) -> None:
    steps = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--model.optimizer.accumulate", "1"]
    printed = run("recipes/mine/train.yaml", "outputs/mine/first", *SMALL, *steps)
    assert "mine/train: 6 of 10 rows of mydata/questions.csv, videos: 3" in caplog.text
    assert "mine/test" in printed
    assert "kind=needle" in printed
    for foreign in ("published", "TSPO paper", "haystack/"):
        assert foreign not in printed
    card = json.loads((workplace / "outputs/mine/first/card.json").read_text())
    assert (card["dataset"], card["questions"], card["videos"]) == ("mine/test", 2, 1)
    caplog.clear()
    words = ["--dataset", "kitchen", "--trainer.accelerator", "cpu"]
    printed = run("recipes/mine/eval.yaml", "outputs/eval_mine/first", *words)
    answers = read_answers(workplace / "outputs/eval_mine/first")
    assert {a.system for a in answers} == {"uniform", "clip_topk", "sampler"}
    assert {(a.dataset, a.split) for a in answers} == {("kitchen", "test")}
    trained = {a.sample_id: a for a in read_answers(workplace / "outputs/mine/first") if a.system == "after"}
    assert {a.sample_id for a in answers} == set(trained)  # the same videos are tested on
    assert all(a.timestamps_s == trained[a.sample_id].timestamps_s for a in answers if a.system == "sampler")
    assert "CLIP top-k" in printed
    assert "also trained on" not in caplog.text
    caplog.clear()
    everything = ["--data.test.split_shares", "null"]
    run("recipes/mine/eval.yaml", "outputs/eval_mine/leak", *everything, "--trainer.accelerator", "cpu")
    assert "3 of 5 videos of split 'test' are also trained on" in caplog.text


@pytest.mark.slow
def test_open_questions_are_graded_by_their_references(run, workplace: Path) -> None:
    rows = [{"video": f"clips/v{n}.mp4", "question": "What is seen?", "references": ["a red ball"]} for n in range(2)]
    (workplace / "mydata/open.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (workplace / "my_model.yaml").write_text(MY_MODEL)
    words = ["--overlay", "my_model.yaml", "--checkpoint", "null", "--annotations", "mydata/open.jsonl"]
    words += ["--split_shares", "null", "--data.train", "null", "--data.val", "null", "--trainer.accelerator", "cpu"]
    printed = run("recipes/mine/eval.yaml", "outputs/eval_mine/open", *words)
    assert "rouge-l@1, mine/test" in printed
    assert all(a.text is not None for a in read_answers(workplace / "outputs/eval_mine/open"))
