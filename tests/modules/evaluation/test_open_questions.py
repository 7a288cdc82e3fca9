"""Questions without options: references, and the scorers and rewards that compare texts with them."""

from __future__ import annotations

import math

import pytest
import torch
from chat_server import ChatServer

from modules.evaluation.aggregate import grade, report
from modules.evaluation.score_table import default_scorer
from modules.evaluation.scorers import scorer
from modules.mllms.openai import OpenAIChat
from modules.mllms.prompt import Prompt
from modules.records import Answer, Candidates, QuestionBatch, Rollouts, Selection, VideoQuestion
from modules.rewards.exact_match import ExactMatch, exact_match
from modules.rewards.model_grade import ModelGrade, grading_row, read_grade
from modules.rewards.rouge_l import RougeL, rouge_l


def rollouts(references: tuple[str, ...], texts: list[str]) -> Rollouts:
    question = VideoQuestion("d", "s", "q", "v.mp4", 2.0, "What falls?", references=references)
    candidates, times = Candidates("v", torch.arange(2), torch.arange(2.0), 2.0), torch.arange(2.0)[None]
    batch = QuestionBatch([question], [candidates], torch.zeros(1, 2, 1), times >= 0, times, torch.zeros(1, 1, 1))
    index = torch.zeros(1, len(texts), 1, dtype=torch.int64)
    return Rollouts(batch, Selection(index, torch.zeros(index.shape)), texts=[texts])


def test_exact_match_forgives_case_articles_and_punctuation_only() -> None:
    assert exact_match("The red ball.", ["a leaf", "Red ball"]) == 1
    assert exact_match("red balls", ["red ball"]) == 0


def test_rouge_l_by_hand() -> None:
    """3 of 4 words in the same order are in common (Lin 2004, section 3.1), then 2 of 4."""
    assert rouge_l("police kill the gunman", ["police killed the gunman"]) == pytest.approx(0.75)
    assert rouge_l("the gunman kill police", ["police killed the gunman"]) == pytest.approx(0.5)
    assert rouge_l("police killed the gunman", ["something else", "police killed the gunman"]) == 1
    assert rouge_l("", ["police"]) == 0


def test_rewards_of_texts_apply_where_there_are_references() -> None:
    assert ExactMatch()(rollouts(("ball",), ["a ball", "leaf"])).tolist() == [[1.0, 0.0]]
    assert RougeL()(rollouts(("red ball",), ["red ball", "red leaf"])).tolist() == [[1.0, 0.5]]
    assert RougeL()(rollouts((), ["ball"])).isnan().all()


def test_grades_are_read_and_texts_with_braces_stay() -> None:
    assert [read_grade(t) for t in ("Yes.", "**no**", "perhaps", "")] == [1.0, 0.0, None, None]
    row = grading_row("{answer}?", ["{question}"], "a ball")
    assert row.question.wording is not None
    assert "Answer to grade: a ball" in row.question.wording
    assert Prompt(answer_with="letter").text(row.question, torch.empty(0)) == row.question.wording


def test_scorers_grade_open_answers_and_leave_others_out() -> None:
    def answer(n: int, text: str, references: tuple[str, ...]) -> Answer:
        return Answer("d", "s", f"q{n}", f"v{n}", "x", "?", (), None, references=references, text=text)

    answers = [answer(0, "red ball", ("red ball",)), answer(1, "red leaf", ("red ball",)), answer(2, "x", ())]
    assert default_scorer(answers).name == "rouge-l@1"
    graded = grade([*answers, answer(3, " ", ("ball",))], scorer("rouge-l"))
    assert graded.correct.tolist() == [1.0, 0.5, 0.0]
    assert graded.num_unread == 1
    assert report(grade(answers, scorer("exact-match")))[0].value == 0.5


def test_a_served_model_grades(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    server = ChatServer()
    server.text = lambda request: "Yes" if "Answer to grade: a ball" in str(request) else "No"
    served = OpenAIChat(model="m", base_url=server.url)
    assert ModelGrade(model=served)(rollouts(("ball",), ["a ball", "leaf"])).tolist() == [[1.0, 0.0]]
    by_name = scorer(f"served-grade:some/m@{server.url}")
    texts = [Answer("d", "s", "q", "v", "x", "?", (), None, references=("ball",), text=t) for t in ("a ball", "b")]
    num_asked = len(server.requests)
    assert [by_name.grade(a) for a in texts] == [1.0, 0.0]
    assert [scorer(f"served-grade:some/m@{server.url}").grade(a) for a in texts] == [1.0, 0.0]
    assert len(server.requests) == num_asked + 2  # an answer is graded once, however many tables it stands in
    server.close()
    assert math.isnan(ModelGrade(model=served)(rollouts((), ["a ball"]))[0, 0])
