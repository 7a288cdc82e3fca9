"""Kairos as the client of a real vLLM, on the CPU; tests/integrations/vllm.sh builds the environment and runs this."""

from __future__ import annotations

import base64
import contextlib
import inspect
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import torch
from PIL import Image
from serving_process import serving
from serving_requests import request_of
from torch import Tensor
from transformers import AutoTokenizer

from datamodules.haystack.datamodule import HaystackData
from datamodules.haystack.world import World
from datamodules.video.decoding_settings import DecodingSettings
from modules.encoders.open_clip import OpenCLIPEncoder
from modules.mllms.base import FrameTokens, Row
from modules.mllms.openai import OpenAIChat
from modules.mllms.qwen_vl import Qwen3VL
from modules.mllms.served.vllm_engine import VLLMEngine
from modules.mllms.served.weight_transfer import NCCLBroadcast, WeightFiles
from modules.records import Rollouts, VideoQuestion
from modules.rewards.base import Reward
from modules.small_stack.blank_families import write_blank_family

VLLM = os.environ.get("VLLM", "")
pytestmark = [
    pytest.mark.skipif(not VLLM, reason="needs a real vLLM: tests/integrations/vllm.sh builds one and runs this"),
    pytest.mark.long,
]
QUESTION = VideoQuestion("d", "s", "q", "v", 100.0, "What colour is the star?", ("red", "green", "blue", "white"), 1)
TIMES_S = torch.tensor([3.2, 10.0, 20.5, 40.0, 61.7, 99.0])
SETTINGS: dict[str, Any] = {"model": "m", "image_side_px": None, "jpeg_quality": 95, "timeout_s": 600.0}


class RealServer:
    """``vllm serve`` of one folder on one port, killed and started again as a test likes."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.log = folder, folder.parent / "vllm.log"
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.start()

    def start(self, *more: str) -> None:
        own = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_SERVER_DEV_MODE": "1"}
        quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "PYTHONPATH": "", "TORCHDYNAMO_DISABLE": "1"}
        command = f"serve {self.folder} --served-model-name m --host 127.0.0.1 --port {self.port}"
        settings = "--enforce-eager --max-model-len 4096 --dtype float32 --trust-request-mm-kwargs"
        self._process = subprocess.Popen(
            [VLLM, *command.split(), *settings.split(), *more],
            env=os.environ | own | quiet,
            stdout=self.log.open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait(self, most_s: float = 900.0) -> None:
        deadline = time.monotonic() + most_s
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"vLLM ended: {self.log.read_text()[-2000:]}"
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5)
                return
            time.sleep(1)
        raise TimeoutError(self.log.read_text()[-2000:])

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vllm") / "qwen3_vl"
    write_blank_family("qwen3_vl", path)
    return path


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RealServer]:
    running = RealServer(folder)
    try:
        running.wait()
        yield running
    finally:
        running.kill()


def through_jpeg(frames: Tensor, served: OpenAIChat) -> Tensor:
    """Frames as the server sees them."""
    jpegs = served.jpegs(FrameTokens(frames, torch.arange(len(frames))))
    pictures = [Image.open(io.BytesIO(base64.b64decode(jpegs[n].base64))) for n in range(len(frames))]
    return torch.stack([torch.from_numpy(np.array(p.convert("RGB"))).permute(2, 0, 1) for p in pictures])


class LocalThroughJpeg(Qwen3VL):
    """The local model, shown what a server is shown."""

    served: OpenAIChat

    def encode_frames(self, frames: Tensor) -> Tensor:
        return through_jpeg(frames, self.served)


def local(folder: Path, served: OpenAIChat) -> LocalThroughJpeg:
    model = LocalThroughJpeg(path=str(folder))
    object.__setattr__(model, "served", served)  # no part of it
    return model


def frames(num_frames: int = 6) -> Tensor:
    blobs = torch.rand(num_frames, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(blobs, (64, 96), mode="bilinear").mul(255).to(torch.uint8)


def rows(tokens: Tensor) -> list[Row]:
    shown = FrameTokens(tokens, TIMES_S)
    return [Row(QUESTION, shown, torch.tensor(index)) for index in ([0, 1, 2, 3], [1, 3, 5], [2], list(range(6)))]


def two_videos(world: World, folder: Path, clip: Path) -> HaystackData:
    """Two to train on, and one for each other split."""
    return HaystackData(
        world=world,
        root=str(folder / "videos"),
        feature_dir=str(folder / "features"),
        decoding=DecodingSettings(num_workers=1),
        num_train_videos=2,
        num_val_videos=1,
        num_test_videos=1,
        encoder=OpenCLIPEncoder(model=f"local-dir:{clip}"),
        batch_size=4,
    )


def test_what_it_can_do_is_found_out(server: RealServer) -> None:
    served = OpenAIChat(base_url=server.url, **SETTINGS)
    served.score_rows(rows(frames())[:1])
    abilities = served._run(served.server.abilities)
    assert abilities.scores_tokens
    assert abilities.takes_media_settings
    assert abilities.names_media
    assert abilities.gives_token_ids
    assert served._run(served.server.takes_timed_video)


def test_frames_and_times_as_sent_are_what_the_model_sees(server: RealServer, folder: Path) -> None:
    """The prompt's tokens, times and places of frames among them, are those of the local model."""
    served = OpenAIChat(base_url=server.url, frames="video", **SETTINGS)
    model = local(folder, served)
    seen: list[list[int]] = []
    for row in rows(model.encode_frames(frames())):

        async def asked(row: Row = row) -> None:
            request = served._request(row, True, True)
            fields = {**request.pop("extra_body"), "return_token_ids": True}
            reply = await served.client.chat.completions.create(model="m", max_tokens=1, extra_body=fields, **request)
            seen.append(reply.prompt_token_ids)

        served._run(asked)
        assert seen[-1] == model.prompt_ids(row, model.clip(row))


@pytest.mark.parametrize("shown", ["video", "images"])
def test_option_scores_equal_the_local_models(server: RealServer, folder: Path, shown: str) -> None:
    served = OpenAIChat(base_url=server.url, frames=shown, **SETTINGS)
    theirs = served.score_rows(rows(frames()))
    if shown == "images":  # another prompt than the local model's: it is only seen that frames and their order matter
        assert (theirs - served.score_rows(rows(frames().flip(0)))).abs().max() > 1e-3
        return
    model = local(folder, served)
    with torch.no_grad():
        ours = model.score_rows(rows(model.encode_frames(frames())))
    assert (theirs[0] - theirs[1]).abs().max() > 0.01
    torch.testing.assert_close(theirs, ours, atol=1e-3, rtol=0)


def test_the_same_frames_at_other_times_are_other_scores(server: RealServer) -> None:
    served = OpenAIChat(base_url=server.url, frames="video", **SETTINGS)
    shown = frames()
    here, there = (
        served.score_rows([Row(QUESTION, FrameTokens(shown, times_s), torch.arange(4))])
        for times_s in (TIMES_S, TIMES_S + 12.3)
    )
    assert (here - there).abs().max() > 1e-4


def test_two_steps_on_served_rewards_are_those_on_the_local_models(
    server: RealServer, folder: Path, tmp_path: Path, short_world: Any, blank_clip: Path
) -> None:
    from evolution_settings import evolution, terms
    from quiet_trainer import quiet_trainer

    from modules.methods.tspo.agent import TSPOSampler
    from modules.rewards.probability import Probability
    from modules.rl.grpo import GRPO

    rewards: dict[str, list[Tensor]] = {}
    for name in ("local", "served"):
        served = OpenAIChat(base_url=server.url, frames="video", **SETTINGS)
        torch.manual_seed(3)
        module = evolution(
            sampler=TSPOSampler(dim=32, num_heads=4),
            mllm=served if name == "served" else local(folder, served),
            rewards=terms(Probability()),
            grpo=GRPO(num_generations=4, loss_type="grpo"),
            num_frames=4,
            learning_rate=1e-2,
        )
        data = two_videos(short_world, tmp_path, blank_clip)
        given = rewards[name] = []
        score = module.score_rewards
        module.score_rewards = lambda rollouts, score=score, given=given: (  # type: ignore[method-assign]
            found := score(rollouts),
            given.append(found.sampler.clone()),
        )[0]
        quiet_trainer(2).fit(module, data)
    assert len(rewards["local"]) == len(rewards["served"]) == 2
    for here, there in zip(rewards["local"], rewards["served"], strict=True):
        assert here.std(1).max() > 1e-3
        torch.testing.assert_close(here, there, atol=1e-3, rtol=0)


def test_an_engine_with_new_weights_draws_from_them(server: RealServer, folder: Path, tmp_path: Path) -> None:
    served = OpenAIChat(base_url=server.url, frames="video", **SETTINGS)
    model = local(folder, served)
    engine = VLLMEngine(served=served, transfer=WeightFiles(str(tmp_path)))
    engine.prepare(model)
    sent, asked = rows(frames()), rows(model.encode_frames(frames()))  # a JPEG of a JPEG would be another picture
    drawn = engine.generate(sent, 6, 1.0, [1, 2, 3, 4])
    again = engine.generate(sent, 6, 1.0, [1, 2, 3, 4])
    assert [ids.tolist() for ids in drawn.token_ids] == [ids.tolist() for ids in again.token_ids]
    assert_drawn_from(model, asked, drawn)
    original = {name: p.detach().clone() for name, p in model.model.named_parameters()}
    with torch.no_grad():
        for n, parameter in enumerate(model.language_parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(n))
            parameter.add_(0.2 * parameter.std(unbiased=False) * noise)
    try:
        engine.sync_weights(model, 1)
        moved = engine.generate(sent, 6, 1.0, [1, 2, 3, 4])
        assert_drawn_from(model, asked, moved)
    finally:
        with torch.no_grad():
            for name, parameter in model.model.named_parameters():
                parameter.copy_(original[name])
        engine.sync_weights(model, 2)
    with pytest.raises(AssertionError):  # the weights before are not those it drew from
        assert_drawn_from(model, asked, moved)


class EvenLength(Reward):
    """Something to learn whatever the model says."""

    needs_text, needs_options = True, False

    def __call__(self, rollouts: Rollouts) -> Tensor:
        assert rollouts.texts is not None
        return torch.tensor([[float(len(t) % 2 == 0) for t in texts] for texts in rollouts.texts])


def test_joint_training_draws_there_and_weighs_what_older_weights_drew(
    server: RealServer,
    folder: Path,
    tmp_path: Path,
    short_world: Any,
    blank_clip: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three updates, weights given before the first and the third: the second is one step off-policy."""
    from evolution_settings import evolution, terms
    from quiet_trainer import quiet_trainer

    from modules.methods.tspo.agent import TSPOSampler
    from modules.rl import objective
    from modules.rl.grpo import GRPO
    from modules.rl.importance import EngineRollouts
    from modules.rl.token_training import JointTraining

    ratios: list[Tensor] = []
    ratio_of = objective.importance_ratio

    def watched(completions: Any) -> Tensor | None:
        ratio = ratio_of(completions)
        assert ratio is not None
        ratios.append(ratio.log().abs())
        return ratio

    monkeypatch.setattr(objective, "importance_ratio", watched)
    served = OpenAIChat(base_url=server.url, frames="video", **SETTINGS)
    engine = VLLMEngine(served=served, transfer=WeightFiles(str(tmp_path / "weights")))
    model = Qwen3VL(path=str(folder))
    original = {name: p.detach().clone() for name, p in model.model.named_parameters()}
    torch.manual_seed(3)
    module = evolution(
        sampler=TSPOSampler(dim=32, num_heads=4),
        mllm=model,
        rewards=terms(EvenLength()),
        evolve="joint",
        joint=JointTraining(learning_rate=1e-3, rollouts=EngineRollouts(engine=engine, sync_every=2)),
        grpo=GRPO(num_generations=4, loss_type="grpo"),
        num_frames=4,
        max_new_tokens=6,
    )
    data = two_videos(short_world, tmp_path, blank_clip)
    try:
        quiet_trainer(3).fit(module, data)
        assert engine.served.own_route("/weight_info", None) == {"weight_version": "2"}
    finally:
        with torch.no_grad():
            for name, parameter in model.model.named_parameters():
                parameter.copy_(original[name])
        engine.sync_weights(model, 0)
    fresh, older, again = (ratio.mean().item() for ratio in ratios)
    print(f"mean |log pi_old / pi_drawn|: {fresh:.4f}, one step off {older:.4f}, given anew {again:.4f}")
    assert max(fresh, again) < 0.03  # a JPEG's worth
    assert older > 2 * max(fresh, again)


def assert_drawn_from(model: Qwen3VL, asked: list[Row], drawn: Any, temperature: float = 1.0) -> None:
    """The log-probabilities of what was drawn are the model's, the token that ends a turn among them."""
    with torch.no_grad():
        own = model.log_probs(asked, drawn.token_ids, temperature)
    for n, log_probs in enumerate(drawn.log_probs):
        torch.testing.assert_close(own[n, : len(log_probs)], log_probs, atol=1e-4, rtol=0)


def test_weights_do_not_go_from_gpu_to_gpu_where_there_is_none(server: RealServer) -> None:
    """vLLM's own routes answer as our advice expects; the trainer's half is not come to."""
    served = OpenAIChat(base_url=server.url, frames="video", max_retries=1, **SETTINGS)  # it hangs up after an error

    class Asks(NCCLBroadcast):
        def send(self, model: Any, version: int, post: Any) -> None:
            post("/init_weight_transfer_engine", {"init_info": {}})

    with pytest.raises(ConnectionError, match=r"Weight transfer not configured.*--weight-transfer-config"):
        VLLMEngine(served=served, transfer=Asks("127.0.0.1", 1)).sync_weights(Untrained(), 0)  # type: ignore[arg-type]
    served.own_route("/resume", {})


class Untrained:
    """A model without weights."""

    model = torch.nn.Identity()


@pytest.mark.parametrize("send", ["auto", "images"])
def test_serve_before_it_sends_on_the_chosen_frames_with_their_true_times(
    server: RealServer, folder: Path, tmp_path: Path, short_video: Path, send: str
) -> None:
    (tmp_path / "videos").mkdir()
    shutil.copy(short_video, tmp_path / "videos" / "a.mp4")
    words = ["--upstream", server.url, "--video_root", "videos", "--serve.upstream.send", send]
    with serving(words, tmp_path) as front:
        official = openai.OpenAI(base_url=f"{front.address}/v1", api_key="none", max_retries=0, timeout=300.0)
        asked: dict[str, Any] = {
            "model": "sampler",
            "messages": request_of("a.mp4")["messages"],
            "max_tokens": 4,
            "temperature": 0,
            "extra_body": {"kairos": {"num_frames": 4}, "return_token_ids": True},
        }
        whole: Any = official.chat.completions.create(**asked)
        pieces: list[Any] = list(official.chat.completions.create(**asked, stream=True))
    assert whole.usage.completion_tokens == 4
    own, (streamed,) = whole.kairos, [chunk.kairos for chunk in pieces if getattr(chunk, "kairos", None)]
    times_s = [frame["time_s"] for frame in own["looked_at"]]
    assert [frame["time_s"] for frame in streamed["looked_at"]] == times_s
    assert len(times_s) == own["upstream"]["frames"] == 4
    assert (
        own["upstream"]["frames_as"] == streamed["upstream"]["frames_as"] == ("video" if send == "auto" else "images")
    )
    said = "".join(chunk.choices[0].delta.content or "" for chunk in pieces if chunk.choices)
    assert said == whole.choices[0].message.content
    seen = AutoTokenizer.from_pretrained(folder).decode(whole.prompt_token_ids)
    if send == "auto":  # two frames make one step of the model's time, which has their mean
        expected = [f"<{(a + b) / 2:.1f} seconds>" for a, b in zip(times_s[::2], times_s[1::2], strict=True)]
        assert re.findall(r"<[\d.]+ seconds>", seen) == expected
    else:
        assert re.findall(r"\[[\d.]+ s\]", seen) == [f"[{time_s:.1f} s]" for time_s in times_s]


def test_calls_of_vllms_trainer_half_fit_its_signatures() -> None:
    """In the server's environment, where vLLM can be imported; there is no GPU to go further."""
    script = """
import inspect
from vllm.distributed.weight_transfer.base import ModuleSource, VLLMWeightSyncClient
from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo, NCCLTrainerWeightTransferEngine as Engine
info = NCCLTrainerInitInfo(master_address="127.0.0.1", master_port=1, world_size=2, rank=0)
assert info.is_sender
inspect.signature(Engine.trainer_init).bind(info, client=None, source=None)
inspect.signature(Engine.send_weights).bind(None)
inspect.signature(ModuleSource).bind(None)
print(sorted(name for name in vars(VLLMWeightSyncClient) if not name.startswith("_")))
"""
    python = Path(VLLM).parent / "python"
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr[-2000:]
    from modules.mllms.served import weight_transfer

    ours = {name for name, _ in inspect.getmembers(weight_transfer._Routes, inspect.isfunction) if name[0] != "_"}
    assert all(f"'{name}'" in done.stdout for name in ours)


def test_nothing_is_lost_or_wrong_when_it_is_killed_and_started_again(server: RealServer) -> None:
    """200 questions at once; the server is killed when some are answered, and started again."""
    served = OpenAIChat(base_url=server.url, frames="video", concurrency=64, max_retries=200, **SETTINGS)
    shown, index = FrameTokens(frames(), TIMES_S), torch.randint(0, 6, (200, 3)).sort(-1).values
    asked = [
        Row(VideoQuestion("d", "s", f"q{n}", "v", 100.0, f"Star {n}?", ("red", "green"), 1), shown, index[n])
        for n in range(200)
    ]
    expected = served.score_rows(asked)

    def restart() -> None:
        time.sleep(1.0)
        server.kill()
        time.sleep(2.0)
        server.start()

    before, killer = served.calls.num_retries, threading.Thread(target=restart)
    killer.start()
    found = served.score_rows(asked)
    killer.join()
    assert served.calls.num_retries > before
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    server.kill()
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1.*Connection error"):
        OpenAIChat(base_url=server.url, frames="video", max_retries=1, **SETTINGS).score_rows(asked[:1])


def test_processed_log_probs_are_of_any_temperature(server: RealServer, folder: Path, tmp_path: Path) -> None:
    server.kill()
    server.start("--logprobs-mode", "processed_logprobs")
    server.wait()
    served = OpenAIChat(base_url=server.url, frames="video", **SETTINGS)
    model = local(folder, served)
    engine = VLLMEngine(served=served, transfer=WeightFiles(str(tmp_path)), log_probs="processed")
    engine.prepare(model)
    for temperature in (1.0, 0.7):
        drawn = engine.generate(rows(frames()), 6, temperature, [1, 2, 3, 4])
        assert_drawn_from(model, rows(model.encode_frames(frames())), drawn, temperature)
    with torch.no_grad():
        ours = model.score_rows(rows(model.encode_frames(frames())))
    torch.testing.assert_close(served.score_rows(rows(frames())), ours, atol=1e-3, rtol=0)
