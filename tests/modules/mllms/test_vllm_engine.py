"""A vLLM server as the engine of joint training, on a small server that speaks its routes."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_server import NEW_FIELDS, ChatServer

from modules.mllms.base import FrameTokens, Row
from modules.mllms.openai import OpenAIChat
from modules.mllms.prompt import Prompt
from modules.mllms.served.vllm_engine import VLLMEngine
from modules.mllms.served.weight_transfer import NCCLBroadcast, WeightFiles
from modules.records import VideoQuestion

QUESTION = VideoQuestion("d", "s", "q7", "v", 60.0, "Is it bright?", ("no", "yes"), 1)
SET = FrameTokens(torch.full((2, 3, 16, 16), 204, dtype=torch.uint8), torch.tensor([1.5, 20.0]))
ROW = Row(QUESTION, SET, torch.arange(2))


@pytest.fixture
def server() -> Iterator[ChatServer]:
    running = ChatServer(fields=NEW_FIELDS)
    yield running
    running.close()


class Trained:
    """A model as far as an engine looks at it."""

    def __init__(self, injects: bool = False, prompt: Prompt | None = None, unsaid_ids: Sequence[int] = ()) -> None:
        self.injects, self.prompt, self.unsaid_ids = injects, prompt or Prompt(), list(unsaid_ids)
        self.model = torch.nn.Linear(2, 2)
        self.model.save_pretrained = self.save_pretrained  # type: ignore[assignment]

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")


def engine(server: ChatServer, transfer: Any = None, **arguments: Any) -> VLLMEngine:
    served = OpenAIChat(model="m", base_url=server.url, max_retries=1, timeout_s=10.0, image_side_px=None)
    return VLLMEngine(served=served, transfer=transfer or WeightFiles("unused"), **arguments)


def test_tokens_are_drawn_from_the_whole_distribution_each_with_its_seed(server) -> None:
    drawn = engine(server).generate([ROW, ROW], 5, 1.0, [11, 2**55 + 1])
    assert drawn.texts == ["B", "B"]
    assert [ids.tolist() for ids in drawn.token_ids] == [[ord("B"), 2]] * 2
    assert drawn.log_probs[0].tolist() == [-0.5, -0.5]
    asked = [body for body in server.requests if "seed" in body]
    assert sorted(body["seed"] for body in asked) == [11, 2**55 + 1]
    for body in asked:
        assert (body["temperature"], body["top_p"], body["top_k"], body["min_p"]) == (1.0, 1.0, -1, 0.0)
        assert (body["repetition_penalty"], body["max_tokens"], body["return_token_ids"]) == (1.0, 5, True)
        assert body["media_io_kwargs"]["video"]["frames_indices"] == [1500, 20_000]
        assert not {"logit_bias", "logprob_token_ids"} & set(body)  # a model without placeholders


def test_placeholders_are_not_drawn_and_raw_log_probs_are_those_of_the_rest(server) -> None:
    """p of a token among the others is p / (1 - 0.1 - 0.1), where the server gives each placeholder 0.1."""
    drawing = engine(server)
    drawing.prepare(Trained(unsaid_ids=[151_655, 151_656]))  # type: ignore[arg-type]
    drawn = drawing.generate([ROW], 5, 1.0, [1])
    assert drawn.log_probs[0].tolist() == pytest.approx([-0.5 - math.log(0.8)] * 2, abs=1e-6)
    (body,) = [body for body in server.requests if "seed" in body]
    assert body["logit_bias"] == {"151655": -100, "151656": -100}
    assert (body["logprob_token_ids"], body["return_tokens_as_token_ids"]) == ([151_655, 151_656], True)


def test_processed_log_probs_are_of_the_rest_already(server) -> None:
    drawing = engine(server, log_probs="processed")
    drawing.prepare(Trained(unsaid_ids=[7]))  # type: ignore[arg-type]
    assert drawing.generate([ROW], 5, 0.7, [1]).log_probs[0].tolist() == [-0.5, -0.5]
    (body,) = [body for body in server.requests if "seed" in body]
    assert body["logit_bias"] == {"7": -100}
    assert "logprob_token_ids" not in body


def test_a_server_that_draws_placeholders_or_hides_their_share_is_an_error(server) -> None:
    drawing = engine(server)
    drawing.prepare(Trained(unsaid_ids=[2, 9]))  # type: ignore[arg-type]  # 2 ends what it draws
    with pytest.raises(ConnectionError, match=r"q7.*drew token 2.*logit_bias"):
        drawing.generate([ROW], 5, 1.0, [1])
    drawing.prepare(Trained(unsaid_ids=[9]))  # type: ignore[arg-type]
    server.fields = tuple(name for name in NEW_FIELDS if name != "logprob_token_ids")
    with pytest.raises(ConnectionError, match=r"q7.*processed_logprobs"):
        drawing.generate([ROW], 5, 1.0, [1])
    drawing.prepare(Trained(unsaid_ids=range(100, 110)))  # type: ignore[arg-type]  # 0.1 each leaves nothing
    server.fields = NEW_FIELDS
    with pytest.raises(ConnectionError, match=r"q7.*next to nothing"):
        drawing.generate([ROW], 5, 1.0, [1])


def test_log_probs_before_the_temperature_are_refused(server) -> None:
    with pytest.raises(ValueError, match="processed_logprobs"):
        engine(server).generate([ROW], 5, 0.7, [1])
    assert engine(server, log_probs="processed").generate([ROW], 5, 0.7, [1]).texts == ["B"]


def test_a_server_that_tells_no_ids_is_an_error(server) -> None:
    server.fields = tuple(name for name in NEW_FIELDS if name != "return_token_ids")
    with pytest.raises(ConnectionError, match=r"q7.*no token ids"):
        engine(server).generate([ROW], 5, 1.0, [1])


def test_what_an_engine_cannot_draw_for_is_refused_before_training(server) -> None:
    with pytest.raises(ValueError, match="frames_per_grid: 2"):
        engine(server).prepare(Trained(injects=True))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="prompt is not that"):
        engine(server).prepare(Trained(prompt=Prompt(before="Look: ")))  # type: ignore[arg-type]
    engine(server).prepare(Trained())  # type: ignore[arg-type]


def test_weights_go_as_files_while_the_server_waits(server, tmp_path: Path) -> None:
    drawing = engine(server, WeightFiles(str(tmp_path)))
    for version in (0, 3):
        drawing.sync_weights(Trained(), version)  # type: ignore[arg-type]
    folder = tmp_path / "version_3"
    assert server.routes[5:] == [
        ("/pause?mode=wait", {}),
        ("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}),
        ("/reset_prefix_cache", {}),
        ("/update_weight_version", {"new_version": "3"}),
        ("/resume", {}),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["version_3"]
    assert (folder / "model.safetensors").read_bytes() == b"weights"


def test_a_server_that_did_not_take_them_draws_no_more(server, tmp_path: Path, monkeypatch) -> None:
    whole = server.page
    monkeypatch.setattr(server, "page", lambda path, body=None: None if "rpc" in path else whole(path, body))
    with pytest.raises(ConnectionError, match=r"POST /collective_rpc.*VLLM_SERVER_DEV_MODE=1.*start it again"):
        engine(server, WeightFiles(str(tmp_path))).sync_weights(Trained(), 0)  # type: ignore[arg-type]
    assert "/resume" not in [path for path, _ in server.routes]


@pytest.mark.parametrize(
    ("said", "advice"),
    [  # as vLLM 0.32 says it, started on a CPU
        ("Weight transfer not configured. Please set weight_transfer_config", "--weight-transfer-config"),
        ("Cannot access accelerator device when none is available.", "no GPU.*WeightFiles"),
        ("Repo id must use alphanumeric chars, '-', '_' or '.'", "has to see /shared/weights"),
    ],
)
def test_what_vllm_answers_is_told_with_what_to_do(server, tmp_path: Path, said: str, advice: str) -> None:
    def post(route: str, body: Any) -> None:
        if "rpc" in route:
            raise ConnectionError(f"Error code: 500 - {said}")

    class Files(WeightFiles):
        def send(self, model: Any, version: int, post: Any) -> None:
            post("/collective_rpc", {})

    with pytest.raises(ConnectionError, match=f"update 3.*Error code: 500.*{advice}") as failed:
        Files("/shared/weights")(Trained(), 3, post)  # type: ignore[arg-type]
    assert type(failed.value) is ConnectionError  # and not one that leaves a question out


def test_weights_go_from_gpu_to_gpu_by_vllms_own_half(server, monkeypatch) -> None:
    """With stand-ins of vLLM's classes; tests/integrations/vllm.sh binds the calls to the real ones."""
    met: list[Any] = []

    @dataclass
    class NCCLTrainerInitInfo:
        master_address: str
        master_port: int
        world_size: int
        rank: int

    class NCCLTrainerWeightTransferEngine:
        @classmethod
        def trainer_init(cls, info: NCCLTrainerInitInfo, *, client: Any, source: Any) -> Any:
            met.append((info, source))
            made = cls()
            made.client = client
            client.init_weight_transfer_engine({"rank_offset": 1})
            return made

        def send_weights(self) -> None:
            self.client.start_weight_update()
            self.client.update_weights({"names": ["weight"]})
            self.client.finish_weight_update()

    stand_ins = {
        "vllm": {},
        "vllm.distributed": {},
        "vllm.distributed.weight_transfer": {},
        "vllm.distributed.weight_transfer.base": {"ModuleSource": lambda module: module},
        "vllm.distributed.weight_transfer.nccl_engine": {
            "NCCLTrainerInitInfo": NCCLTrainerInitInfo,
            "NCCLTrainerWeightTransferEngine": NCCLTrainerWeightTransferEngine,
        },
    }
    for name, content in stand_ins.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    trained = Trained()
    drawing = engine(server, NCCLBroadcast("10.0.0.1", 29_600))
    for version in (0, 1):
        drawing.sync_weights(trained, version)  # type: ignore[arg-type]
    assert len(met) == 1  # the ranks meet once
    assert met[0][0] == NCCLTrainerInitInfo("10.0.0.1", 29_600, 3, 0)
    assert met[0][1] is trained.model
    routes = [path for path, _ in server.routes]
    update = ["/start_weight_update", "/update_weights", "/finish_weight_update"]
    after = ["/reset_prefix_cache", "/update_weight_version", "/resume"]
    first = ["/pause?mode=wait", "/get_world_size", "/init_weight_transfer_engine", *update, *after]
    assert routes == [*first, "/pause?mode=wait", *update, *after]


@pytest.mark.parametrize(("gpu", "reason"), [(True, "WeightFiles does not"), (False, "there is none here")])
def test_without_vllm_or_a_gpu_here_the_other_way_is_named(server, monkeypatch, gpu: bool, reason: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    with pytest.raises(ValueError, match=reason):
        engine(server, NCCLBroadcast("10.0.0.1", 29_600)).sync_weights(Trained(), 0)  # type: ignore[arg-type]
