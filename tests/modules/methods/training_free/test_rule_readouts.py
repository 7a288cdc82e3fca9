"""Rules over scores from elsewhere: those of a system that stands beside, and those of the model that answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_server import ChatServer
from torch import Tensor

from modules.methods.training_free.aks import AKS
from modules.methods.training_free.bolt import BOLT
from modules.methods.training_free.by_rule import ByRule
from modules.methods.training_free.dig import DIG
from modules.methods.training_free.focus import FOCUS
from modules.methods.training_free.rated_by_model import RatedByModel
from modules.methods.training_free.top_k import TopK
from modules.methods.training_free.uniform import Uniform
from modules.mllms.openai import OpenAIChat
from modules.records import Candidates, QuestionBatch, VideoQuestion
from modules.selection.policies import Autoregressive
from modules.systems.answering import Answering
from modules.systems.base import Setting, VideoSystem, answer_all, prepared
from modules.systems.sampler_system import SamplerSystem

TOTAL, DARK = 60, 33


class Frames:
    """A source whose frames are bright but for one; of that, the scripted model names the first of two options."""

    def decode(self, candidates: Candidates, candidate_index: Tensor) -> Tensor:
        brightness = torch.where(candidate_index == DARK, 10, 250)
        return brightness[:, None, None, None].expand(-1, 3, 8, 8).to(torch.uint8)

    def decode_many(self, asked: Sequence[tuple[Candidates, Tensor]]) -> Iterator[Tensor | None]:
        return (self.decode(*one) for one in asked)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    server = ChatServer()
    yield server
    server.close()


def batch(tmp_path: Path) -> QuestionBatch:
    """Two questions on scenes of ten frames; the query is like frame 7, and the second video is shorter."""
    (tmp_path / "v.mp4").write_bytes(b"video")
    questions = [
        VideoQuestion("d", "s", f"q{n}", str(tmp_path / "v.mp4"), 60.0, "Bright?", ("no", "yes"), 1) for n in range(2)
    ]
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 6, 16, generator=generator).repeat_interleave(10, 1)
    features += 0.05 * torch.randn(2, TOTAL, 16, generator=generator)
    mask = torch.arange(TOTAL)[None] < torch.tensor([[TOTAL], [50]])
    times = torch.arange(float(TOTAL))
    candidates = [Candidates("v", torch.arange(n) * 30, times[:n].double(), float(n)) for n in (TOTAL, 50)]
    return QuestionBatch(questions, candidates, features, mask, times.expand(2, -1), features[:, 7:8])


def answered(server: ChatServer, tmp_path: Path, systems: dict[str, VideoSystem], num_frames: int = 4) -> dict:
    mllm = OpenAIChat(model="m", base_url=server.url)
    setting = Setting(answering=Answering(mllm, canary=False), num_frames=num_frames)
    replies = answer_all(prepared(systems, setting), batch(tmp_path), Frames())  # type: ignore[arg-type]
    return {(reply.answer.system, reply.answer.sample_id): reply for reply in replies}


def test_a_rule_over_another_systems_scores_is_the_rule_with_that_scorer(server: ChatServer, tmp_path: Path) -> None:
    systems: dict[str, VideoSystem] = {"top": SamplerSystem(sampler=TopK())}
    for rule in (AKS, BOLT, DIG, FOCUS):
        systems[f"{rule.__name__} over it"] = SamplerSystem(like="top", readout=ByRule(rule=rule()))
        systems[rule.__name__] = SamplerSystem(sampler=rule())
    replies = answered(server, tmp_path, systems)
    for rule in (AKS, BOLT, DIG, FOCUS):
        for question in ("q0", "q1"):
            ours, theirs = (replies[name, question] for name in (f"{rule.__name__} over it", rule.__name__))
            assert ours.selection.frame_ids == theirs.selection.frame_ids
            assert ours.selection.ranks == theirs.selection.ranks
            assert ours.cost.frames_scored == {"q0": TOTAL, "q1": 50}[question]  # its sampler scored all
            few = rule is FOCUS
            assert (theirs.cost.frames_scored < ours.cost.frames_scored) == few
            assert theirs.cost.frames_decoded >= theirs.cost.frames_scored
    assert replies["AKS", "q0"].selection.frame_ids != replies["BOLT", "q0"].selection.frame_ids


def test_a_rule_over_what_picks_one_frame_after_another_is_refused(tmp_path: Path) -> None:
    asked = batch(tmp_path)
    policy = Autoregressive(asked.features, asked.mask, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="AKS chooses by scores, and a Autoregressive policy has none"):
        ByRule(rule=AKS()).choose(policy, None, asked, None, 4)  # type: ignore[arg-type]


def test_the_model_is_shown_a_frame_at_a_time_and_its_favour_is_the_score(server: ChatServer, tmp_path: Path) -> None:
    rated: dict[str, Any] = {
        "all": SamplerSystem(sampler=Uniform(), readout=RatedByModel(rule=BOLT(power=8.0))),
        "few": SamplerSystem(sampler=Uniform(), readout=RatedByModel(rule=DIG(prominence=0.01))),
    }
    replies = answered(server, tmp_path, rated)
    own = replies["all", "q0"]
    assert own.selection.ranks[own.selection.frame_ids.index(DARK * 30)] == 0
    assert (own.cost.frames_scored, own.cost.frames_decoded) == (TOTAL, TOTAL)
    assert own.cost.frames_shown == TOTAL + 4
    few = replies["few", "q1"]
    assert 4 + 2 <= few.cost.frames_shown <= 4 + 10  # a frame of each scene, and the frames of the answer
    assert few.cost.frames_scored == 50
    asked = server.requests[0]["messages"][-1]["content"]
    assert any("Does this frame of the video help to answer the question: Bright?" in str(part) for part in asked)
    with pytest.raises(ValueError, match="where the question stands"):
        RatedByModel(rule=DIG(), wording="Is it useful?")


def test_focus_shows_the_model_few_frames(server: ChatServer, tmp_path: Path) -> None:
    systems: dict[str, VideoSystem] = {"few": SamplerSystem(sampler=Uniform(), readout=RatedByModel(rule=FOCUS()))}
    cost = answered(server, tmp_path, systems)["few", "q0"].cost
    assert cost.frames_scored < TOTAL
    assert cost.frames_shown == cost.frames_scored + 4
    assert cost.frames_scored <= cost.frames_decoded <= cost.frames_scored + 4
