"""Systems: what they reply, where they looked, and that the cost is counted as by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_server import ChatServer
from torch import Tensor

from modules.evaluation.evaluation_module import EvaluationModule
from modules.methods.training_free.aks import AKS
from modules.methods.training_free.top_k import TopK
from modules.methods.training_free.uniform import Uniform
from modules.mllms.openai import OpenAIChat
from modules.records import Candidates, Cost, QuestionBatch, VideoQuestion
from modules.systems.answering import Answering
from modules.systems.base import Setting, VideoSystem, answer_all, prepared
from modules.systems.readouts import Sampled
from modules.systems.sampler_system import SamplerSystem
from modules.systems.served import Served
from modules.systems.yardsticks import Blind, Oracle


class Frames:
    """A source whose frame t is as bright as t tenths."""

    def decode(self, candidates: Candidates, candidate_index: Tensor) -> Tensor:
        return (candidate_index[:, None, None, None] * 25).clamp(max=255).expand(-1, 3, 8, 8).to(torch.uint8)

    def decode_many(self, asked: Sequence[tuple[Candidates, Tensor]]) -> Iterator[Tensor | None]:
        return (self.decode(*one) for one in asked)


def batch(tmp_path: Path) -> QuestionBatch:
    times = torch.arange(10.0)
    (tmp_path / "v.mp4").write_bytes(b"video")
    questions = [
        VideoQuestion(
            "d", "s", f"q{n}", str(tmp_path / "v.mp4"), 10.0, "Bright?", ("no", "yes"), 1, evidence_s=((8.0, 9.5),)
        )
        for n in range(2)
    ]
    candidates = [Candidates("v", torch.arange(10) * 30, times.double(), 10.0)] * 2
    features = torch.eye(10)[None].expand(2, -1, -1)
    queries = torch.eye(10)[[9, 2]][:, None]
    return QuestionBatch(
        questions, candidates, features, torch.ones(2, 10, dtype=torch.bool), times.expand(2, -1), queries
    )


@pytest.fixture
def server() -> Iterator[ChatServer]:
    server = ChatServer()
    yield server
    server.close()


def ready(server: ChatServer, systems: dict[str, VideoSystem], **more: Any) -> dict[str, VideoSystem]:
    mllm = OpenAIChat(model="m", base_url=server.url)
    return prepared(systems, Setting(answering=Answering(mllm, canary=False), num_frames=2, **more))


def test_replies_say_where_was_looked_and_what_it_cost(server: ChatServer, tmp_path: Path) -> None:
    systems = ready(
        server,
        {
            "uniform": SamplerSystem(sampler=Uniform()),
            "top": SamplerSystem(sampler=TopK()),
            "blind": Blind(),
            "oracle": Oracle(),
        },
        write_text=True,
    )
    replies = {(r.answer.system, r.answer.sample_id): r for r in answer_all(systems, batch(tmp_path), Frames())}  # type: ignore[arg-type]
    assert len(replies) == 8
    top = replies["top", "q0"]
    assert top.answer.timestamps_s[-1] == 9.0
    assert top.selection is not None
    assert top.selection.frame_ids[-1] == 270
    assert top.selection.scores[-1] == pytest.approx(1.0)
    assert (top.cost.frames_decoded, top.cost.frames_shown, top.cost.calls) == (10, 4, 2)  # scored, then written
    assert (top.cost.visual_tokens, top.cost.text_tokens_in, top.cost.text_tokens_out) == (None, 2 * 9, 2)
    assert replies["uniform", "q0"].cost.frames_decoded == 2
    assert set(replies["oracle", "q1"].answer.timestamps_s) == {8.0, 9.0}
    blind = replies["blind", "q0"]
    assert blind.selection is None
    assert (blind.cost.frames_decoded, blind.cost.frames_shown, blind.cost.visual_tokens) == (0, 0, 0)
    assert blind.cost.seconds["answer"] > 0


def test_weights_are_hashed_once_an_evaluation_and_nothing_is_kept_of_a_batch(
    server: ChatServer, tmp_path: Path
) -> None:
    hashed: list[str] = []

    class Weighty(TopK):
        def state_dict(self, *words: Any, **named: Any) -> Any:
            hashed.append("")
            return super().state_dict(*words, **named)

    systems = ready(
        server, {"top": SamplerSystem(sampler=Weighty()), "drawn": SamplerSystem(like="top", readout=Sampled())}
    )
    top = systems["top"]
    assert isinstance(top, SamplerSystem)
    assert top.choice is not None
    for _ in range(3):
        questions = batch(tmp_path)
        answer_all(systems, questions, Frames())  # type: ignore[arg-type]
        assert top.choice.scores is not None
    assert len(hashed) == 1
    del questions
    assert top.choice.scores is None
    prepared(systems, top.setting)
    answer_all(systems, batch(tmp_path), Frames())  # type: ignore[arg-type]
    assert len(hashed) == 2  # training may have gone on between


@pytest.mark.parametrize("rule", [None, AKS])
def test_a_sampler_is_asked_once_for_policy_and_scores(
    server: ChatServer, tmp_path: Path, rule: type[AKS] | None
) -> None:
    asked: list[str] = []

    class Counted(TopK):
        def scores(self, *inputs: Tensor) -> Tensor:
            asked.append("")
            return super().scores(*inputs)

    sampler = Counted() if rule is None else rule(scorer=Counted())
    questions = batch(tmp_path)
    replies = answer_all(ready(server, {"top": SamplerSystem(sampler=sampler)}), questions, Frames())  # type: ignore[arg-type]
    assert len(asked) == 1
    similarity = TopK().scores(questions.features, questions.mask, questions.timestamps_s, questions.queries)
    for b, reply in enumerate(replies):
        assert reply.selection is not None
        at = [frame_id // 30 for frame_id in reply.selection.frame_ids]
        assert list(reply.selection.scores) == similarity[b, at].tolist()


def test_a_system_reads_another_s_sampler_out_in_its_own_way(server: ChatServer, tmp_path: Path) -> None:
    systems = ready(
        server, {"drawn": SamplerSystem(like="top", readout=Sampled(seed=1)), "top": SamplerSystem(sampler=TopK())}
    )
    drawn, top = systems["drawn"], systems["top"]
    assert isinstance(drawn, SamplerSystem)
    assert isinstance(top, SamplerSystem)
    assert drawn.sampler is top.sampler
    assert drawn.describe() == f"{top.describe()}, Sampled"
    assert len(answer_all(systems, batch(tmp_path), Frames())) == 4  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="like 'nobody', which has no sampler; there are \\['top'\\]"):
        ready(server, {"drawn": SamplerSystem(like="nobody"), "top": SamplerSystem(sampler=TopK())})
    with pytest.raises(ValueError, match="either a sampler or"):
        SamplerSystem()


def test_weights_of_a_shared_sampler_are_saved_once() -> None:
    mllm = OpenAIChat(model="m", base_url="http://127.0.0.1:1/v1")
    from modules.methods.tspo.agent import TSPOSampler

    module = EvaluationModule(
        mllm=mllm,
        systems={
            "sampler": SamplerSystem(sampler=TSPOSampler(dim=32, num_heads=4)),
            "drawn": SamplerSystem(like="sampler", readout=Sampled()),
        },
    )
    assert {name.split(".")[1] for name in module.state_dict()} == {"sampler"}
    with pytest.raises(ValueError, match="no 'mine' with a sampler of its own"):
        EvaluationModule(mllm=mllm, systems={"drawn": Blind()}, trained="mine").on_load_checkpoint({"state_dict": {}})


@pytest.mark.parametrize("send", ["content", "path"])
def test_a_served_system_is_given_the_file(server: ChatServer, tmp_path: Path, send: Any) -> None:
    systems = ready(server, {"whole": Served(model="m", base_url=server.url, send=send)}, write_text=True)
    replies = answer_all(systems, batch(tmp_path), Frames())  # type: ignore[arg-type]
    content = server.requests[0]["messages"][-1]["content"]
    url = content[0]["video_url"]["url"]
    assert url == ("data:video/mp4;base64,dmlkZW8=" if send == "content" else (tmp_path / "v.mp4").as_uri())
    assert "Bright?" in content[1]["text"]
    assert all(r.selection is None and r.answer.text and r.answer.option_log_probs for r in replies)
    assert [r.cost.calls for r in replies] == [2, 2]
    assert replies[0].cost.text_tokens_in == 14


def test_costs_add_up_and_what_is_not_known_stays_so() -> None:
    one = Cost(frames_shown=2, visual_tokens=None, seconds={"answer": 1.0})
    two = Cost(frames_shown=3, visual_tokens=5, calls=1, seconds={"answer": 0.5, "choose": 1.0})
    assert one + two == Cost(frames_shown=5, visual_tokens=None, calls=1, seconds={"answer": 1.5, "choose": 1.0})
