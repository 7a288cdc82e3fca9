"""Systems of the lmms-eval plugin; the harness is not here, and those of its classes that are used are stood in for.

With the harness: tests/integrations/lmms_eval.sh.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from recipes.launcher.guard import ROOT

OVERLAY = """
vars: {memories: memories}
data: {init_args: {feature_dir: features, decoding: {num_workers: 1}}}
"""


class Messages:
    """Of one document."""

    def __init__(self, messages: Any) -> None:
        self.video, text = messages
        self.messages = [SimpleNamespace(content=[SimpleNamespace(type="text", text=text)])]

    def extract_media(self) -> tuple[list[Any], list[Any], list[Any]]:
        return [], [self.video], []


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    stood_in = {
        "lmms_eval.api.model": {"lmms": type("lmms", (), {})},
        "lmms_eval.models.registry_v2": {"ModelManifest": SimpleNamespace},
        "lmms_eval.protocol": {"ChatMessages": Messages},
    }
    for name, content in stood_in.items():
        parts = name.split(".")
        for end in range(1, len(parts)):
            monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(".".join(parts[:end])))
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "recipes.launcher.lmms_eval", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("here.yaml").write_text(OVERLAY)
    import recipes.launcher.lmms_eval as plugin

    yield plugin
    sys.modules.pop("recipes.launcher.lmms_eval", None)


def test_a_control_comes_with_the_system_that_it_is_like(plugin: ModuleType) -> None:
    systems = {"agent": {"init_args": {}}, "other": {"init_args": {}}, "control": {"init_args": {"like": "agent"}}}
    assert list(plugin._with_model("control", systems)) == ["agent", "control"]
    assert list(plugin._with_model("other", systems)) == ["other"]
    assert list(plugin._with_model("blind", {"blind": {"class_path": "Blind"}})) == ["blind"]


@pytest.mark.long
@pytest.mark.parametrize("system", ["videolucy", "coarse only"])
def test_videolucy_answers_the_questions_of_the_harness(plugin: ModuleType, system: str, short_video: Path) -> None:
    """The agent itself, and a control, which is like it and says no more than what it changes."""
    model = plugin.Kairos(str(ROOT / "recipes/videolucy.yaml"), "here.yaml", system, device="cpu")
    text = "What colour is the first shape?\nA. red\nB. green\nC. blue\nD. white\nAnswer with the letter."
    document = {"question": text, "id": "one"}
    model.task_dict = {"task": {"test": {0: document}}}
    request = SimpleNamespace(args=("", lambda doc: (str(short_video), text), {"max_new_tokens": 8}, 0, "task", "test"))
    (answer,) = model.generate_until([request])
    assert answer
    assert list(Path("memories").rglob("*.json"))


def test_a_system_that_the_recipe_does_not_have(plugin: ModuleType) -> None:
    with pytest.raises(ValueError, match="the recipe's systems are videolucy, coarse only"):
        plugin.Kairos(str(ROOT / "recipes/videolucy.yaml"), "here.yaml", "nobody", device="cpu")
