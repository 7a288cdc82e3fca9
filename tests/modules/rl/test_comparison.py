"""Which systems a training is compared with, and which of their answers count."""

from __future__ import annotations

from typing import Any

import pytest

from modules.methods.training_free.top_k import TopK
from modules.methods.training_free.uniform import Uniform
from modules.rl.comparison import Comparison, untrained_copy
from modules.systems.sampler_system import SamplerSystem

ANSWERING: Any = object()


def names(comparison: Comparison, initial: Any = None) -> set[str]:
    sampler = TopK()
    return set(comparison.systems(sampler, untrained_copy(sampler), None, ANSWERING, initial))


def test_baselines_stand_beside_the_yardsticks_and_none_leaves_one_out() -> None:
    assert names(Comparison()) == {"blind", "oracle", "before", "after"}
    found = names(Comparison(baselines={"uniform": Uniform(), "clip_topk": None}))
    assert found == {"blind", "oracle", "before", "after", "uniform"}


def test_the_initial_model_answers_on_frames_of_the_trained_sampler() -> None:
    sampler, initial = TopK(), object()
    comparison = Comparison(baselines={"uniform": Uniform()})
    systems = comparison.systems(sampler, untrained_copy(sampler), None, ANSWERING, initial)  # type: ignore[arg-type]
    old = systems["after, initial mllm"]
    assert isinstance(old, SamplerSystem)
    assert old.sampler is sampler
    assert old.answering is initial
    assert "uniform, initial mllm" in systems


@pytest.mark.parametrize(("grade_by", "options", "text"), [("options", True, False), ("text", False, True)])
def test_answers_are_taken_in_the_form_in_which_they_are_graded(grade_by: Any, options: bool, text: bool) -> None:
    setting = Comparison(grade_by=grade_by).setting(ANSWERING, 4)
    assert (setting.num_frames, setting.score_options, setting.write_text) == (4, options, text)


def test_another_grade_is_refused() -> None:
    with pytest.raises(ValueError, match="grade_by='both': one of options, text"):
        Comparison(grade_by="both")  # type: ignore[arg-type]
