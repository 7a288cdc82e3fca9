"""VideoLucy's recipes as somebody runs them: two questions, and a server that describes, reasons, and misbehaves."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from scripted_roles import CUE, SECRET, ScriptedReasoner

import kairos
from modules.evaluation.answer_files import Answered, read_answered
from modules.roles.reasoner import Message
from recipes.launcher.cli import main
from recipes.launcher.guard import ROOT

SECOND, COLOUR, SCOPE_S = 33.0, "green", 5.0
"""Of the needle that the server sees in every video, if the stretch is no longer than that."""
SMALL = """
data: {init_args: {candidate_fps: 2.0, decoding: {num_workers: 1}, feature_dir: features}}
model:
  init_args:
    systems:
      videolucy:
        init_args:
          scopes: [{levels: [{scope_s: 20, fps: 1}, {scope_s: 5, fps: 1, max_pixels: 1000}, {scope_s: 1, fps: 2}]}]
          settings: {memories: memories}
    num_frames: 4
"""


class Server(ChatServer):
    """Describes where there are images, reasons where there are none; some of its answers are no answers."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.num_reasoned, self.reasoner = self._text, 0, ScriptedReasoner()
        self.sizes: list[tuple[int, int]] = []

    def _text(self, body: dict[str, Any]) -> str:
        content = body["messages"][-1]["content"]
        times_s = [float(t) for c in content for t in re.findall(r"^\[([\d.]+) s\]$", c.get("text", ""))]
        prompt = content[-1]["text"]
        if "Which colour?" in prompt and times_s:
            return "A"  # uniform frames, where probabilities are not asked for
        if times_s:
            step = times_s[1] - times_s[0] if len(times_s) > 1 else 0.5
            seen = times_s[0] <= SECOND < times_s[-1] + step
            close = times_s[-1] + step - times_s[0] <= SCOPE_S
            return f"A grey room. {CUE if seen else ''} {f'{SECRET} {COLOUR}' if seen and close else ''}"
        self.num_reasoned += 1
        if self.num_reasoned % 4 == 1:
            return "Hmm, let me think {about it}."
        return self.reasoner.write([Message("user", prompt)]).text


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def workplace(tmp_path: Path, short_video: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder elsewhere, with two equal videos and a question on each."""
    (tmp_path / "videos").mkdir()
    rows = []
    for n in range(2):
        shutil.copy(short_video, tmp_path / "videos" / f"A1_JAKE_DAY{n}.mp4")
        options = [
            f"{letter}. {colour}" for letter, colour in zip("ABCD", ("red", "green", "blue", "white"), strict=True)
        ]
        row = {"videoID": f"A1_JAKE_DAY{n}", "question_id": str(n), "type": "Detail", "question": "Which colour?"}
        rows.append({**row, "options": options, "answer": "B"})
    (tmp_path / "EgoMem.json").write_text(json.dumps(rows))
    (tmp_path / "small.yaml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAIROS_DEBUG", "1")
    return tmp_path


def words(server: Server, run_dir: str) -> list[str]:
    return [
        *("--overlay", str(ROOT / "recipes/overlays/served.yaml"), "--overlay", "small.yaml"),
        *("--served", "seer", "--reasoner", "thinker", "--base_url", server.url, "--run_dir", run_dir),
        *("--trainer.accelerator", "cpu", "--trainer.devices", "1", "--trainer.logger", "false"),
    ]


def by_system(answered: list[Answered], system: str) -> list[Answered]:
    return [one for one in answered if one.answer.system == system]


@pytest.mark.slow
def test_two_questions_against_a_server_that_misbehaves(server: Server, workplace: Path, capsys) -> None:
    server.faults = ["", "500", "cut", "", "malformed", "empty"]
    data = ["--annotations", "EgoMem.json", "--videos", "videos"]
    main(["run", str(ROOT / "recipes/eval/egomem.yaml"), *data, *words(server, "out")])
    answered = read_answered(workplace / "out")
    assert {one.answer.system for one in answered} == {
        "videolucy",
        "coarse only",
        "random localization",
        "flat dump",
        "uniform",
        "blind",
    }
    lucy = by_system(answered, "videolucy")
    assert [one.answer.exit for one in lucy] == ["fine", "fine"]
    assert all(one.answer.options[one.answer.option_log_probs.index(0.0)] == COLOUR for one in lucy)
    assert all(one.answer.exit == "forced" for one in by_system(answered, "coarse only"))
    assert [one.answer.exit for one in by_system(answered, "flat dump")] == ["read at once"] * 2
    assert any(step.cost.calls == 2 for one in lucy for step in one.trace if step.role == "reasoner")  # asked again

    # equal files are one video: the second question finds everything described
    first, second = ([s.reused for s in one.trace if s.role == "captioner"] for one in lucy)
    assert (first, second) == ([0, 0], [5, 5])
    captions = [json.loads(path.read_text()) for path in (workplace / "memories").rglob("*.json")]
    assert {c["key"]["model"].partition("-")[0] for c in captions} == {"openaichat"}
    assert len({path.parent for path in (workplace / "memories").rglob("*.json")}) == 1
    models = Counter(request["model"] for request in server.requests)
    assert models["thinker"] >= 10
    assert models["seer"] >= len(captions)

    printed = capsys.readouterr().out
    assert "How it ended" in printed
    assert "longest option" in printed
    assert "always A, options as published" in printed
    assert "calls to thinker were made again" in printed or "calls to seer were made again" in printed
    exits = json.loads((workplace / "out/exits.json").read_text())
    assert {"system": "videolucy", "exit": "fine", "accuracy": 1.0}.items() <= exits[-1].items()
    page = (workplace / "out/traces/videolucy/A1_JAKE_DAY0-0.md").read_text()
    assert SECRET in page
    assert "## 1. describe" in page
    main(["score", "out", "--scorer", "strict-letter"])
    assert "How it ended" in capsys.readouterr().out
    card = json.loads((workplace / "out/card.json").read_text())
    assert "thinker" in card["systems"]["videolucy"]
    assert "right without a model" in card


@pytest.mark.slow
def test_one_question_from_the_command_line(server: Server, workplace: Path, capsys) -> None:
    asked = [
        "--video",
        "videos/A1_JAKE_DAY0.mp4",
        "--question",
        "Which colour?",
        "--options",
        "red, green, blue, white",
    ]
    paper = str(ROOT / "recipes/paper/videolucy_qwen2_5_vl_7b.yaml")
    others = [
        w for name in ("coarse only", "random localization", "flat dump", "uniform", "blind") for w in _without(name)
    ]
    ask = ["--overlay", str(ROOT / "recipes/overlays/ask.yaml")]
    main(["run", paper, *words(server, "asked"), *ask, *others, *asked, "--answer", "green"])
    printed = capsys.readouterr().out
    assert re.search(r"answer +green", printed)
    assert re.search(r"step 1 +describe 0\.0-20\.0 s and 4 more: \[0\.0 s - 20\.0 s\] A grey room\.", printed)
    assert (workplace / "asked/contact_sheet.png").is_file()


@pytest.mark.slow
def test_from_python(server: Server, workplace: Path) -> None:
    bases = [f"{ROOT}/recipes/paper/videolucy_qwen2_5_vl_7b.yaml", f"{ROOT}/recipes/overlays/served.yaml", "small.yaml"]
    (workplace / "mine.yaml").write_text(f"base: [{', '.join(bases)}]\n")
    settings = {"served": "seer", "base_url": server.url, "data.feature_dir": "features"}
    with kairos.load("mine.yaml", device="cpu", settings=settings) as run:
        assert run.systems()[0] == "videolucy"
        answer = run.ask("videos/A1_JAKE_DAY0.mp4", "Which colour?", options=["red", "green", "blue", "white"])
    assert answer.text == COLOUR
    assert [step.action for step in answer.trace][:2] == ["describe", "relevant"]
    assert "step 1" in str(answer)


def _without(name: str) -> list[str]:
    return [f"--model.systems.{name}", "null"]
