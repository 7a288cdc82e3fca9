"""Scorers, aggregation, grounding and comparison, against cases done by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from modules.evaluation.aggregate import grade, group_members, report
from modules.evaluation.answer_files import (
    FILE_NAME,
    Answered,
    append_answers,
    read_answered,
    read_answers,
    unfinished_file,
    write_answers,
)
from modules.evaluation.grounding import grounding_metrics, overlap, tightest_half
from modules.evaluation.paired import compare, mcnemar
from modules.evaluation.score_table import score_systems
from modules.evaluation.scorers import SCORERS, LmmsEval, OptionScorer, scorer
from modules.records import Answer, Cost, TraceStep


def answer(n: int = 0, text: str | None = None, gold: int | None = 2, **more) -> Answer:
    defaults = {"video": f"v{n // 2}", "system": "x", "question": "?", "options": ("w", "x", "y", "z")}
    return Answer("d", "test", f"q{n}", **{**defaults, "answer_index": gold, "text": text, **more})


# what the three shipped extractors made of the same strings (lmms-eval 0.7, VLMEvalKit August 2026, LongVideoBench's)
@pytest.mark.parametrize(
    ("text", "lmms", "vlmevalkit", "longvideobench", "strict"),
    [
        ("Answer: C", "C", "C", "A", "C"),
        ("Best option: (C)", "C", "B", "C", "C"),
        ("A man throws it, so the answer is C", "A", "A", "A", "C"),
        ("<think>A or B? no.</think><answer>C</answer>", "A", "A", "A", "C"),
        ("Based on the video, the answer is C. A dog runs", "A", "B", "B", "C"),
        ("c", "", "", "", "C"),
        ("", "", "", "", ""),
        ("I cannot tell", "", "", "", ""),
    ],
)
def test_scorers_read_the_same_words_differently(text, lmms, vlmevalkit, longvideobench, strict) -> None:
    expected = {
        "lmms-eval": lmms,
        "vlmevalkit": vlmevalkit,
        "lmms-eval-longvideobench": longvideobench,
        "strict-letter": strict,
    }
    for name, letter in expected.items():
        chosen = scorer(name).choose(answer(text=text))
        assert chosen == ("ABCD".index(letter) if letter else None), name


def test_no_scorer_guesses_and_none_names_an_option_that_is_not_there() -> None:
    of_options = [s for s in SCORERS.values() if isinstance(s, OptionScorer)]
    assert len(of_options) == 5
    for s in of_options:
        for text in ("", "no idea", "???", "E"):
            assert s.grade(answer(text=text, options=("w", "x"))) is None
    assert LmmsEval(num_letters=6).choose(answer(text="F", options=tuple("uvwxyz"))) == 5
    with pytest.raises(ValueError, match="strict-letter@2"):
        scorer("lenient")


def test_option_logprob_takes_the_most_probable_and_nothing_from_nothing() -> None:
    s = scorer("option-logprob@1")
    assert s.choose(answer(option_log_probs=(-3.0, -0.1, -4.0))) == 1
    assert s.choose(answer(option_log_probs=(-math.inf, -math.inf))) is None
    assert s.choose(answer()) is None
    assert not s.judges(answer(gold=None, option_log_probs=(0.0, -9.0)))


def test_answers_survive_the_disk(tmp_path: Path) -> None:
    before = [
        answer(1, "C. ä", option_log_probs=(-0.5, -math.inf), timestamps_s=(0.5, 3.0), evidence_s=((1.0, 2.0),)),
        answer(2, None, None, groups={"task": "count", "type": ("a", "b")}),
    ]
    costs = [None, Cost(calls=1, visual_tokens=None, seconds={"answer": 0.5}), *[Cost()] * (len(before) - 2)]
    written = [
        Answered(a, cost, (TraceStep(action="look", role="reasoner"),)) for a, cost in zip(before, costs, strict=True)
    ]
    write_answers(tmp_path / "answers.jsonl", written)
    assert read_answers(tmp_path) == before
    assert read_answered(tmp_path) == written
    (tmp_path / "answers.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="line 1 is no answer"):
        read_answers(tmp_path)
    with pytest.raises(ValueError, match="no such file"):
        read_answers(tmp_path / "elsewhere")


def test_micro_and_macro_differ_where_groups_do() -> None:
    """3 of 3 right in one task, 0 of 1 in another: micro 3/4, macro (1 + 0) / 2."""
    answers = [answer(n, "C", groups={"task": "plot"}) for n in range(3)] + [answer(9, "A", groups={"task": "count"})]
    lines = {line.name: line for line in report(grade(answers, scorer("strict-letter")), macro_over="task")}
    assert lines["micro"].value == 0.75
    assert lines["macro over task"].value == 0.5
    assert lines["task=plot"].value == 1.0
    assert lines["task=count"].num_questions == 1
    assert lines["micro"].low <= 0.75 <= lines["micro"].high


def test_a_question_of_two_types_counts_in_both_and_unknown_answers_in_none() -> None:
    answers = [
        answer(0, "C", groups={"type": ("a", "b")}),
        answer(1, "?", groups={"type": ("b",)}),
        answer(2, "C", None),
    ]
    graded = grade(answers, scorer("strict-letter"))
    assert len(graded.answers) == 2
    assert graded.num_unread == 1
    members = group_members(graded.answers, "type")
    assert members["a"].tolist() == [0]
    assert members["b"].tolist() == [0, 1]


def test_spans_by_hand() -> None:
    assert overlap((2.0, 6.0), [(4.0, 8.0)]) == (pytest.approx(2 / 6), pytest.approx(0.5))
    assert overlap((2.0, 6.0), [(4.0, 8.0), (1.0, 7.0)]) == (pytest.approx(4 / 6), pytest.approx(1.0))
    assert overlap((5.0, 5.0), [(4.0, 8.0)]) == (0.0, 1.0)
    assert overlap((0.0, 1.0), [(4.0, 8.0)]) == (0.0, 0.0)
    assert tightest_half([0.0, 50.0, 51.0, 52.0, 90.0]) == (50.0, 52.0)
    assert tightest_half([7.0]) == (7.0, 7.0)
    assert tightest_half([]) is None


def test_grounded_accuracy_needs_the_moment_as_well() -> None:
    here, there = (4.0, 5.0, 6.0, 30.0), (40.0, 41.0, 42.0, 43.0)
    span = ((4.0, 8.0),)
    answers = [
        answer(0, "C", timestamps_s=here, evidence_s=span),
        answer(1, "C", timestamps_s=there, evidence_s=span),
        answer(2, "A", timestamps_s=here, evidence_s=span),
        answer(3, "C", timestamps_s=(), evidence_s=span),
        answer(4, "C", timestamps_s=here),
    ]
    metrics = grounding_metrics(grade(answers, scorer("strict-letter")))
    assert metrics["Acc@QA"] == 0.75
    assert metrics["Acc@GQA"] == 0.25
    assert metrics["mIoP"] == 0.5
    assert metrics["mIoU"] == pytest.approx(0.5 * 0.25)
    assert grounding_metrics(grade(answers[4:], scorer("strict-letter"))) == {}


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(1, 9) == pytest.approx(2 * (1 + 10) / 1024)


def test_comparison_pairs_questions_and_clusters_videos() -> None:
    a = [answer(n, "A") for n in range(20)]
    b = [answer(n, "C" if n < 10 else "A") for n in range(22)]
    result = compare(a, b, scorer("strict-letter"))
    assert (result.num_questions, result.num_only_one) == (20, 2)
    assert (result.accuracy_a, result.accuracy_b, result.difference) == (0.0, 0.5, 0.5)
    assert (result.only_a_right, result.only_b_right) == (0, 10)
    assert result.p_value == pytest.approx(2 / 1024)
    assert 0 < result.low < 0.5 < result.high
    with pytest.raises(ValueError, match="no question in common"):
        compare(a[:2], b[5:], scorer("strict-letter"))
    with pytest.raises(ValueError, match="more than once"):
        compare([*a, a[0]], b, scorer("strict-letter"))


def test_clustered_intervals_are_wider_when_a_video_agrees_with_itself() -> None:
    alone = [answer(n, "C" if n % 2 else "A", video=f"v{n}") for n in range(60)]
    twins = [answer(n, "C" if (n // 6) % 2 else "A", video=f"v{n // 6}") for n in range(60)]
    width = [
        np.ptp([line.low, line.high]) for line in (report(grade(x, scorer("strict-letter")))[0] for x in (alone, twins))
    ]
    assert width[1] > 1.5 * width[0]


def test_answers_of_a_run_that_was_killed_are_there(tmp_path: Path, caplog) -> None:
    """Two ranks, one killed while it wrote a line; lines of Unicode are lines."""
    answers = [
        answer(0, "C\u2028next\x85"),
        answer(1, "half \ud83d"),
        answer(2, "A", option_log_probs=(0.0, -math.inf)),
    ]
    append_answers(unfinished_file(tmp_path, 0), map(Answered, answers[:1]))
    append_answers(unfinished_file(tmp_path, 0), map(Answered, answers[1:2]))
    append_answers(unfinished_file(tmp_path, 1), map(Answered, answers[2:]))
    with unfinished_file(tmp_path, 1).open("a") as file:
        file.write('{"dataset": "d", "spl')
    assert read_answers(tmp_path) == answers
    assert "has not ended" in caplog.text
    write_answers(tmp_path / FILE_NAME, map(Answered, answers))
    caplog.clear()
    assert read_answers(tmp_path) == answers
    assert not caplog.text


def test_answers_of_earlier_versions_are_read(tmp_path: Path) -> None:
    """An ``arm`` is a system, and nobody had measured what it cost."""
    write_answers(tmp_path / FILE_NAME, [Answered(answer(text="C"))])
    record = json.loads((tmp_path / FILE_NAME).read_text())
    record["arm"] = record.pop("system")
    del record["references"]
    (tmp_path / FILE_NAME).write_text(json.dumps(record) + "\n")
    assert read_answered(tmp_path) == [Answered(answer(text="C"))]


def test_the_gap_is_closed_by_hand() -> None:
    """Two of four right on the floor, all on the ceiling, three by the system: half of the gap."""
    right = {"uniform": (2, 2, 0, 0), "mine": (2, 2, 2, 0), "oracle": (2, 2, 2, 2)}
    answers = [
        answer(n, text="ABCD"[option], system=system, groups={"kind": "a" if n < 2 else "b"}, evidence_s=((0.0, 1.0),))
        for system, options in right.items()
        for n, option in enumerate(options)
    ]
    lines = {line.name: line.value for line in score_systems(answers, "strict-letter", None)["mine"]}
    assert lines["micro"] == 0.75
    assert lines["gap closed"] == 0.5
    assert lines["gap closed, kind=b"] == 0.5
    assert np.isnan(lines["gap closed, kind=a"])  # no gap to close
    alone = score_systems([a for a in answers if a.system != "oracle"], "strict-letter", None)["mine"]
    assert not any(line.name.startswith("gap") for line in alone)


def test_an_oracle_that_knew_no_evidence_is_no_ceiling() -> None:
    answers = [answer(n, text="A", system=system) for system in ("uniform", "oracle", "mine") for n in range(2)]
    assert score_systems(answers, "strict-letter", None).keys() == {"uniform", "mine"}
    assert not any(line.name.startswith("gap") for line in score_systems(answers, "strict-letter", None)["mine"])
