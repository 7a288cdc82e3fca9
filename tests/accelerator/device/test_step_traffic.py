"""How often a training step makes host and device wait for each other does not depend on T, G or K.

Each number that the host reads, each copy to it and each result whose size it has to know is such a wait. A step needs
some, for texts and metrics; a loop over rollouts that has one needs hundreds. Tokens are drawn one after another, and
transformers asks after each whether all rows have ended.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import phantom
import pytest
import torch
from evolution_settings import evolution, terms
from lightning.pytorch.strategies import SingleDeviceStrategy
from test_parts_on_device import batch, rollouts

from callbacks.rollout_table import rollout_rows
from datamodules.haystack.datamodule import HaystackData
from datamodules.video.decoding_settings import DecodingSettings
from modules.encoders.open_clip import OpenCLIPEncoder
from modules.methods.msjoe.query_information import QueryInformation
from modules.methods.msjoe.query_writing import PreviewQueries
from modules.methods.msjoe.unet import UNetSampler
from modules.methods.refocus.backbones.gru import GRUBackbone
from modules.methods.refocus.pointer_decoder import ReFoCUSSampler
from modules.methods.tspo.agent import TSPOSampler
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.prompt import Prompt
from modules.rewards.accuracy import Accuracy
from modules.rewards.format import Format
from modules.rewards.margin import Margin
from modules.rewards.probability import Probability
from modules.rewards.temporal import TemporalLocating
from modules.rl.grpo import GRPO
from modules.rl.token_training import JointTraining
from modules.selection.base import FrameSampler
from recipes.launcher.guard import ROOT

WAITS_A_TOKEN = 2  # of transformers' own loop
JOINT = {
    "evolve": "joint",
    "joint": JointTraining(learning_rate=1e-3, loss_type="grpo"),
    "rewards": terms(Accuracy(), Format()),
    "rows_per_forward": 1000,
}
WRITING = {"num_previews": 2, "preview_tokens": 1, "template": str(ROOT / "recipes/haystack/prompts/queries.txt")}


class Watch(L.Callback):
    """Counts the waits of each training step, and where they are."""

    def __init__(self) -> None:
        self.waits: list[int] = []
        self.places: list[Any] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.before, self.place = phantom.traffic(), phantom.Places()
        self.place.__enter__()

    def on_train_batch_end(self, *_: Any) -> None:
        self.place.__exit__(None, None, None)
        self.waits.append((phantom.traffic() - self.before).waits)
        self.places.append(self.place.waits)


@pytest.fixture(scope="module")
def take_steps(tmp_path_factory, short_world, blank_clip: Path, blank_vlm: Path, device: torch.device):
    """Two steps of training at some sizes; what was watched in the second."""
    root = tmp_path_factory.mktemp("steps")

    def run(
        sampler: type[FrameSampler],
        *,
        fps: float = 1.0,
        rollouts: int = 4,
        frames: int = 4,
        tokens: int = 3,
        query_tokens: int | None = None,
        **settings: Any,
    ) -> Watch:
        torch.manual_seed(3)
        data = HaystackData(
            world=short_world,
            root=str(root / "videos"),
            feature_dir=str(root / "features"),
            decoding=DecodingSettings(num_workers=1, timeout_s=600.0),
            encoder=OpenCLIPEncoder(model=f"local-dir:{blank_clip}"),
            num_train_videos=2,
            num_val_videos=1,
            num_test_videos=1,
            batch_size=4,
            candidate_fps=fps,
        )
        mllm = LlavaOnevision(path=str(blank_vlm), prompt=Prompt(answer_with="words"))
        mllm.model.generation_config.eos_token_id = None  # all answers are of one length
        if query_tokens is not None:
            settings["query_writer"] = PreviewQueries(max_new_tokens=query_tokens, **WRITING)
        module = evolution(
            sampler=SAMPLERS[sampler](),
            mllm=mllm,
            num_frames=frames,
            learning_rate=1e-2,
            max_new_tokens=tokens,
            grpo=GRPO(num_generations=rollouts, loss_type="grpo"),
            store_frame_tokens=True,
            canary=False,
            **{"rewards": terms(Probability(), Accuracy(), Margin(), TemporalLocating()), **settings},
        )
        watch = Watch()
        L.Trainer(
            accelerator="phantom",
            strategy=SingleDeviceStrategy(device=device),
            max_steps=2,
            max_epochs=-1,
            logger=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            callbacks=[watch],
        ).fit(module, datamodule=data)
        return watch

    return run


SAMPLERS: dict[type[FrameSampler], Any] = {
    TSPOSampler: lambda: TSPOSampler(dim=32, num_heads=4),
    UNetSampler: lambda: UNetSampler(channels=(8, 16)),
    ReFoCUSSampler: lambda: ReFoCUSSampler(dim=32, backbone=GRUBackbone(width=16)),
}
LARGER = {"fps": 2.0, "rollouts": 8, "frames": 8}


def grown(small: Watch, large: Watch) -> str:
    """Where the waits grew, for the message."""
    more = large.places[1] - small.places[1]
    return f"{small.waits[1]} waits a step became {large.waits[1]}:\n" + "\n".join(
        f"{n:4d} {at}" for at, n in more.items()
    )


@pytest.mark.parametrize("sampler", [TSPOSampler, UNetSampler, ReFoCUSSampler])
def test_a_step_of_the_sampler(sampler: type[FrameSampler], take_steps) -> None:
    small, large = take_steps(sampler), take_steps(sampler, **LARGER)
    assert small.waits[1] >= large.waits[1], grown(small, large)


def test_a_table_of_rollouts(device: torch.device) -> None:
    asked = rollouts(batch().to(device))
    scores = {"probability": Probability()(asked), "margin": Margin()(asked)}
    with phantom.counted() as seen:
        rollout_rows(asked, scores, 1, 2)
    assert seen[0].waits == 2 + len(scores)  # what was chosen, what was answered, each term


def test_a_joint_step(take_steps) -> None:
    small, large = take_steps(TSPOSampler, **JOINT), take_steps(TSPOSampler, **JOINT, **LARGER)
    assert small.waits[1] >= large.waits[1], grown(small, large)
    longer = take_steps(TSPOSampler, **JOINT, tokens=7)
    assert longer.waits[1] <= small.waits[1] + 4 * WAITS_A_TOKEN, grown(small, longer)


def test_a_joint_step_of_two_turns(take_steps) -> None:
    more = {**JOINT, "rewards": terms(Accuracy(), QueryInformation())}
    small = take_steps(UNetSampler, query_tokens=3, **more)
    large = take_steps(UNetSampler, query_tokens=3, **more, **LARGER)
    assert small.waits[1] >= large.waits[1], grown(small, large)
    longer = take_steps(UNetSampler, query_tokens=7, **more)
    assert longer.waits[1] <= small.waits[1] + 4 * WAITS_A_TOKEN, grown(small, longer)
