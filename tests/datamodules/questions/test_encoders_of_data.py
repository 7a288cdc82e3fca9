"""Encoders of a data module: each sees its own size of one decoding, on the trainer's device, in its own precision."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from evolution_settings import evolution, terms
from quiet_trainer import quiet_trainer
from torch import Tensor

from datamodules.haystack.datamodule import HaystackData
from datamodules.video.decoding_settings import DecodingSettings
from modules.encoders.base import ImageTextEncoder
from modules.encoders.open_clip import OpenCLIPEncoder
from modules.methods.tspo.agent import TSPOSampler
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.prompt import Prompt
from modules.rewards.probability import Probability
from modules.rl.evolution import EvolutionModule
from modules.rl.grpo import GRPO


class SeenByCLIP(OpenCLIPEncoder):
    """Notes what it is shown."""

    sizes: list[tuple[int, ...]]

    def encode_frames(self, frames: Tensor) -> Tensor:
        self.sizes += [tuple(frame.shape[-2:]) for frame in frames]
        return super().encode_frames(frames)


class SeenByMLLM(LlavaOnevision):
    """The same."""

    sizes: list[tuple[int, ...]]

    def encode_frames(self, frames: Tensor) -> Tensor:
        self.sizes += [tuple(frame.shape[-2:]) for frame in frames]
        return super().encode_frames(frames)


def data(root: Path, world: Any, clip: Path, **kwargs: Any) -> HaystackData:
    encoder = SeenByCLIP(model=f"local-dir:{clip}")
    encoder.sizes = []
    return HaystackData(
        world=world,
        root=str(root / "videos"),
        feature_dir=str(root / "features"),
        decoding=DecodingSettings(num_workers=1),
        encoder=encoder,
        batch_size=2,
        num_train_videos=1,
        num_val_videos=1,
        num_test_videos=1,
        **kwargs,
    )


def module(vlm: Path) -> EvolutionModule:
    mllm = SeenByMLLM(path=str(vlm), prompt=Prompt(answer_with="words"))
    mllm.sizes = []
    return evolution(
        sampler=TSPOSampler(dim=32, num_heads=4),
        mllm=mllm,
        rewards=terms(Probability()),
        num_frames=4,
        canary=False,
        grpo=GRPO(num_generations=4, loss_type="grpo"),
        store_frame_tokens=True,
    )


def fit(trained: EvolutionModule, videos: HaystackData) -> None:
    quiet_trainer(1).fit(trained, datamodule=videos)


@pytest.mark.usefixtures("one_thread")
def test_with_stored_frame_tokens_each_encoder_sees_frames_of_its_own_size_once(
    short_world, blank_clip, blank_vlm, tmp_path: Path
) -> None:
    videos, trained = data(tmp_path, short_world, blank_clip, feature_short_side_px=40), module(blank_vlm)
    assert isinstance(trained.mllm, SeenByMLLM)
    fit(trained, videos)
    assert videos.encoder.sizes == [(40, 40)] * 200
    assert trained.mllm.sizes == [(64, 64)] * 200  # two videos of 100 candidates; none is decoded again in the step
    keys = {path.name for path in (tmp_path / "features").iterdir()} - {"probes", "known_videos"}
    assert keys == {f"{videos.encoder.key}-40pxoffile", f"{trained.mllm.key}-file"}


def test_pixels_of_another_size_lie_under_another_key(short_world, blank_clip, tmp_path: Path) -> None:
    for size in (None, 40):
        videos = data(tmp_path, short_world, blank_clip, feature_short_side_px=size)
        videos.prepare_data()
        videos.setup("test")
        assert len(videos.encoder.sizes) == 100
        videos.teardown("test")


class Elsewhere(ImageTextEncoder):
    """An encoder that notes where it lies whenever it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.at, self.used_at, self.dtypes = torch.device("cpu"), [], []

    def to(self, device: torch.device) -> Elsewhere:
        self.at = device
        return self

    def parameters(self, recurse: bool = True) -> Any:
        yield SimpleNamespace(device=self.at)

    @property
    def key(self) -> str:
        return "elsewhere"

    def encode_frames(self, frames: Tensor) -> Tensor:
        self.used_at.append(("frames", self.at))
        return frames.float().mean((2, 3))

    def encode_texts(self, texts: list[str]) -> Tensor:
        self.used_at.append(("texts", self.at))
        self.dtypes.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
        return torch.ones(len(texts), 3)


def test_the_encoder_computes_on_the_trainers_device_and_gives_it_back(short_world, tmp_path: Path) -> None:
    encoder, device = Elsewhere(), torch.device("cuda", 1)
    videos = HaystackData(
        world=short_world,
        root=str(tmp_path / "videos"),
        feature_dir=str(tmp_path / "features"),
        decoding=DecodingSettings(num_workers=1),
        encoder=encoder,
        num_train_videos=0,
        num_val_videos=0,
        num_test_videos=1,
    )
    videos.prepare_data()
    strategy = SimpleNamespace(root_device=device)
    videos.trainer = SimpleNamespace(strategy=strategy, lightning_module=None, global_rank=0, world_size=1)
    videos.setup("test")
    assert encoder.used_at[0] == ("frames", device)
    assert encoder.used_at[-1] == ("texts", device)
    assert encoder.at.type == "cpu"  # nothing needs it between here and a query that is written
    for _ in range(2):
        videos.embed_texts(["a dog"])
    assert encoder.used_at[-1] == ("texts", device)
    assert encoder.at == device
    videos.teardown("test")
    assert encoder.at.type == "cpu"


def test_a_trainers_precision_does_not_reach_the_encoder(short_world, tmp_path: Path) -> None:
    encoder = Elsewhere()
    videos = HaystackData(world=short_world, root=str(tmp_path), feature_dir=str(tmp_path), encoder=encoder)
    with torch.autocast("cpu", torch.bfloat16):
        videos.embed_texts(["a dog"])
    torch.set_default_dtype(torch.bfloat16)
    try:
        videos.embed_texts(["a dog"])
        assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)
    assert encoder.dtypes == [torch.float32, torch.float32]
