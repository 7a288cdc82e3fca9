"""VideoLucy on the Haystack world, complete in itself: real files, real captions, the shipped reasoner."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import yaml

import kairos
from datamodules.haystack.memory_lessons import MemoryLessons
from datamodules.haystack.memory_notes import Slips
from datamodules.haystack.world import World
from modules.evaluation.answer_files import read_answered
from modules.files.paths import InputPath, ModelPath
from modules.methods.videolucy.forms import Instruction, Location, Relevant, Verdict
from modules.methods.videolucy.notation import Notation
from modules.methods.videolucy.reasoner_training import answered_in, asked_in
from modules.methods.videolucy.role_prompts import RolePrompts
from modules.roles.checked_json import filled_form
from modules.roles.local_reasoner import LocalReasoner
from modules.roles.reasoner import Message
from recipes.launcher.cli import main
from recipes.launcher.guard import ROOT

FORMS = {"relevant": Relevant, "locate": Location, "instruct": Instruction, "answer": Verdict, "forced": Verdict}
SMALL = """
data:
  init_args:
    world: {seed: 7, duration_s: 100, event_duration_s: [2.0, 2.5]}
    num_test_videos: 1
    questions_per_video: {needle: 1, begin: 1, end: 0, before: 0, after: 0, order: 0, count: 0}
    decoding: {num_workers: 1}
    feature_dir: features
    root: worlds
vars: {memories: memories}
model: {init_args: {systems: {"uniform, as many frames": {init_args: {num_frames: 9}}}}}
"""


def test_the_reasoner_fills_in_the_forms_and_reads_what_notes_say() -> None:
    """On memories of plans that it was not taught on."""
    recipe = yaml.safe_load((ROOT / "recipes/haystack/memory_reasoner.yaml").read_text())
    taught = recipe["data"]["init_args"]["lessons"]
    lessons = MemoryLessons(
        world=World(seed=2002), kinds=taught["kinds"], slips=[Slips(**slips) for slips in taught["slips"]]
    )
    settings = recipe["model"]["init_args"]
    prompts, notation = RolePrompts(InputPath(settings["prompts"])), Notation(**settings["notation"])
    reasoner = LocalReasoner(path=ModelPath("recipes/haystack/weights/reasoner"), max_new_tokens=40)
    filled, right = [], defaultdict(list)
    for lesson in [one for n in range(45) for one in lessons.draw(np.random.default_rng(n), 4)]:
        text = reasoner.write([Message("user", asked_in(lesson, prompts, notation))]).text
        try:
            form = filled_form(text, FORMS[lesson.role])
        except ValueError:
            filled.append(False)
            continue
        filled.append(True)
        wanted = filled_form(answered_in(lesson, notation), FORMS[lesson.role])
        for field in ("whole_video", "periods", "period", "instruction", "confident", "answer"):
            if hasattr(wanted, field):
                right[lesson.role, field].append(getattr(form, field) == getattr(wanted, field))
    assert np.mean(filled) > 0.97
    assert np.mean(right["answer", "confident"]) > 0.87
    assert np.mean(right["locate", "period"]) > 0.65
    assert np.mean(right["relevant", "whole_video"]) > 0.75


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "small.yaml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAIROS_DEBUG", "1")
    return tmp_path


@pytest.mark.slow
def test_two_questions_and_one_of_them_where_nobody_knows_the_plan(workplace: Path, capsys) -> None:
    small = ["--overlay", "small.yaml", "--run_dir", "out", "--trainer.logger", "false"]
    main(["run", str(ROOT / "recipes/videolucy.yaml"), *small])
    answered = read_answered(workplace / "out")
    by_system = defaultdict(list)
    for one in answered:
        by_system[one.answer.system].append(one)
    assert {name: len(found) for name, found in by_system.items()} == dict.fromkeys(
        [
            *("videolucy", "coarse only", "random localization", "oracle localization", "flat dump"),
            *("uniform", "uniform, as many frames", "blind"),
        ],
        2,
    )
    lucy = by_system["videolucy"][0]
    assert lucy.trace[0].action == "describe"
    assert len(lucy.trace[0].spans_s) == 5
    assert not any(step.action == "describe again" for one in by_system["coarse only"] for step in one.trace)
    assert "How it ended" in capsys.readouterr().out
    assert json.loads((workplace / "out/exits.json").read_text())

    # the file alone, under another name, in a folder without a world: the same steps
    shutil.copy(lucy.answer.video, workplace / "somebody.mp4")
    shutil.rmtree(workplace / "worlds")
    shutil.rmtree(workplace / "memories")
    with kairos.load(ROOT / "recipes/videolucy.yaml", device="cpu", settings={"vars.memories": "others"}) as run:
        again = run.system("videolucy").ask("somebody.mp4", lucy.answer.question, options=list(lucy.answer.options))
    assert [(s.action, s.spans_s, s.text, s.reason) for s in again.trace] == [
        (s.action, s.spans_s, s.text, s.reason) for s in lucy.trace
    ]
