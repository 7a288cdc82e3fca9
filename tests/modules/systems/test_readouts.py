"""Ways to take frames from a policy: its mode, a draw, the best of several, evenly where there is little to choose."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from modules.records import Candidates, QuestionBatch, Rollouts, Selection, VideoQuestion
from modules.selection.policies import PlackettLuce
from modules.systems.readouts import BestOf, EvenlyWhereFew, MostProbable, Sampled

LENGTHS = (12, 5, 3)


def batch(order: tuple[int, ...] = (0, 1, 2), options: tuple[str, ...] = ("a", "b")) -> QuestionBatch:
    lengths = torch.tensor([LENGTHS[n] for n in order])
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    questions = [VideoQuestion("d", "test", f"q{n}", f"v{n}", 9.0, "?", options) for n in order]
    candidates = [
        Candidates(q.video, torch.arange(n), torch.arange(n).float(), 9.0)
        for q, n in zip(questions, lengths.tolist(), strict=True)
    ]
    return QuestionBatch(
        questions, candidates, torch.zeros(*mask.shape, 4), mask, torch.zeros(mask.shape), torch.zeros(len(order), 1, 4)
    )


def policy(of: QuestionBatch) -> PlackettLuce:
    return PlackettLuce(torch.zeros(of.mask.shape), of.mask)


class Answers:
    """Surer, and of option 0, the more of its frames are even."""

    def answer(self, source: Any, of: QuestionBatch, drawn: Selection) -> Rollouts:
        even = ((drawn.candidate_index % 2 == 0) & drawn.mask).sum(-1).float()
        scores = torch.stack([even, torch.zeros_like(even)], -1).log_softmax(-1)
        return Rollouts(of, drawn, scores if of.questions[0].options else None)


def choose(decoding: Any, of: QuestionBatch, num_frames: int = 4) -> Tensor:
    return decoding.choose(policy(of), None, of, Answers(), num_frames).candidate_index


def test_greedy_is_the_mode() -> None:
    asked = batch()
    assert torch.equal(choose(MostProbable(), asked), policy(asked).mode(4).candidate_index)


def test_a_draw_is_a_function_of_seed_and_question() -> None:
    drawn = choose(Sampled(seed=1), batch())
    assert drawn.shape == (3, 1, 4)
    assert torch.equal(choose(Sampled(seed=1), batch((1, 0)))[0, 0], drawn[1, 0])
    assert not torch.equal(choose(Sampled(seed=2), batch()), drawn)


def test_the_best_of_several_draws_is_the_one_a_model_is_surest_of() -> None:
    asked = batch()
    drawn = BestOf(num_draws=16, seed=3).draw(policy(asked), asked, 4, 16).candidate_index
    even = ((drawn % 2 == 0) & (drawn >= 0)).sum(-1)
    chosen = choose(BestOf(num_draws=16, seed=3), asked)[:, 0]
    assert torch.equal(((chosen % 2 == 0) & (chosen >= 0)).sum(-1), even.amax(1))
    assert all(any(torch.equal(c, d) for d in draws) for c, draws in zip(chosen, drawn, strict=True))
    free = batch(options=())
    assert torch.equal(choose(BestOf(num_draws=3, seed=3), free)[:, 0], choose(Sampled(seed=3), free)[:, 0])


def test_another_model_can_be_the_judge(monkeypatch: Any) -> None:
    asked_of = []

    class Judge(nn.Module):
        pass

    def answering(mllm: nn.Module, **settings: Any) -> Any:
        asked_of.append(mllm)
        return SimpleNamespace(answer=Answers().answer)

    monkeypatch.setattr("modules.systems.readouts.Answering", answering)
    judge = Judge()
    choose(BestOf(num_draws=2, reward_model=judge), batch())  # type: ignore[arg-type]
    assert asked_of == [judge]


def test_videos_of_few_candidates_get_evenly_spaced_frames() -> None:
    few = choose(EvenlyWhereFew(of=Sampled(seed=1), max_candidates=5), batch())
    assert torch.equal(few[0], choose(Sampled(seed=1), batch())[0])
    assert few[1:, 0].tolist() == [[0, 1, 3, 4], [0, 1, 2, -1]]
