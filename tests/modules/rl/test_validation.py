"""What a validation comes to, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from modules.records import Answer, Cost, VideoQuestion
from modules.rl.validation import Validation
from modules.systems.base import Reply
from modules.systems.grading import GRADINGS


def question(sample_id: str, kind: str | None, evidence_s: tuple[tuple[float, float], ...]) -> VideoQuestion:
    groups = {} if kind is None else {"kind": kind}
    return VideoQuestion("d", "s", sample_id, "v", 9.0, "?", ("no", "yes"), 1, evidence_s=evidence_s, groups=groups)


def reply(asked: VideoQuestion, log_probs: tuple[float, float], text: str) -> Reply:
    answer = Answer(
        dataset="d",
        split="s",
        sample_id=asked.sample_id,
        video="v",
        system="after",
        question="?",
        options=asked.options,
        answer_index=1,
        references=(),
        text=text,
        option_log_probs=log_probs,
        timestamps_s=(1.0, 2.0),
        evidence_s=asked.evidence_s,
        groups=asked.groups,
    )
    return Reply(answer, None, Cost())


@pytest.mark.parametrize(("grade_by", "right"), [("options", (1.0, 0.5)), ("text", (0.0, 0.5))])
def test_means_by_hand(grade_by: str, right: tuple[float, float]) -> None:
    questions = [
        question("q0", "needle", ((0.5, 1.5),)),
        question("q1", "needle", ((5.0, 6.0),)),
        question("q2", "order", ()),
    ]
    replies = [
        reply(questions[0], (-2.0, -0.1), "(A) no"),
        reply(questions[1], (-0.1, -2.0), "(B) yes"),
        reply(questions[2], (-2.0, -0.1), "(A) no"),
    ]
    validation = Validation(GRADINGS[grade_by].chosen_option)  # type: ignore[index]
    validation.begin()
    validation.add(questions, replies)
    means = validation.means()
    of_order, of_needles = right
    assert means["val/accuracy_order"] == of_order
    assert means["val/accuracy_needle"] == of_needles
    assert means["val/accuracy"] == pytest.approx((of_order + 2 * of_needles) / 3)
    assert means["val/evidence_found"] == pytest.approx(0.5)  # of those questions whose evidence is known


def test_a_validation_forgets_the_one_before_and_needs_no_evidence_or_kind() -> None:
    validation, asked = Validation(GRADINGS["options"].chosen_option), question("q0", None, ())
    validation.add([asked], [reply(asked, (-2.0, -0.1), "")])
    validation.begin()
    validation.add([asked], [reply(asked, (-0.1, -2.0), "")])
    means = validation.means()
    assert means.keys() == {"val/accuracy", "val/evidence_found"}
    assert means["val/accuracy"] == 0.0
    assert math.isnan(means["val/evidence_found"])


def test_open_questions_are_right_by_their_references_and_without_any_left_out() -> None:
    asked = [question(name, None, ()) for name in ("q0", "q1", "q2")]
    said = (("The Red ball.", ("red ball",)), ("a cube", ("red ball",)), ("a cube", ()))
    replies = []
    for one, (text, references) in zip(asked, said, strict=True):
        multiple_choice = reply(one, (0.0, 0.0), text)
        answer = replace(multiple_choice.answer, options=(), answer_index=None, references=references)
        replies.append(replace(multiple_choice, answer=answer))
    validation = Validation(GRADINGS["text"].chosen_option)
    validation.begin()
    validation.add(asked, replies)
    assert validation.means()["val/accuracy"] == 0.5
