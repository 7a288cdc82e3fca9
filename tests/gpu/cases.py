"""The steps that `make gpu` takes: who answers, what is trained, how much of it, and the same in small."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from evolution_settings import evolution, terms
from lightning.pytorch.strategies import SingleDeviceStrategy
from random_model import random_qwen, write_shape
from random_videos import RandomVideos

from modules.distributed.sharding import ShardedStrategy
from modules.methods.msjoe.unet import UNetSampler
from modules.methods.tspo.agent import TSPOSampler
from modules.mllms.loading import Lora
from modules.records import Rollouts
from modules.rewards.base import Reward
from modules.rewards.probability import Probability
from modules.rl.evolution import EvolutionModule
from modules.rl.grpo import GRPO
from modules.rl.token_training import JointTraining
from recipes.launcher.cost.workload import Workload, workload_of


class EvenBytes(Reward):
    """The share of even bytes in an answer: random texts differ in it, so that there is something to learn from."""

    needs_text, needs_options = True, False

    def __call__(self, rollouts: Rollouts) -> torch.Tensor:
        assert rollouts.texts is not None
        return torch.tensor([[_even(text) for text in texts] for texts in rollouts.texts])


def _even(text: str) -> float:
    data = text.encode()
    return sum(byte % 2 == 0 for byte in data) / max(1, len(data))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One kind of step."""

    shape: str | None
    """Of the MLLM; None is the small one."""
    joint: bool = False
    lora_rank: int = 0
    zero3: bool = False
    dtype: str = "bfloat16"
    num_candidates: int = 128
    num_frames: int = 16
    num_rollouts: int = 8
    rows_per_forward: int = 8
    answer_tokens: int = 16
    height: int = 364  # 13 x 23 tokens, of at most 300
    width: int = 644
    pixels: tuple[int, int] = (200_704, 235_200)  # as in recipes/paper

    def small(self) -> Case:
        """The same on a model that a CPU runs in seconds."""
        return dataclasses.replace(
            self,
            shape=None,
            dtype="float32",
            num_candidates=12,
            num_frames=2,
            num_rollouts=4,
            rows_per_forward=2,
            answer_tokens=4,
            height=56,
            width=56,
            pixels=(56**2, 56**2),
            lora_rank=min(self.lora_rank, 2),
        )

    def module(self, folder: Path, device: torch.device) -> EvolutionModule:
        """What is trained, its MLLM already on the device."""
        write_shape(folder, self.shape)
        lora = Lora(r=self.lora_rank, alpha=2.0 * self.lora_rank) if self.lora_rank else None
        mllm = random_qwen(folder, device, self.dtype, self.pixels, lora)
        more: dict[str, Any] = {"sampler": TSPOSampler(dim=768), "rewards": terms(Probability())}
        if self.joint:
            settings = JointTraining(loss_type="grpo", learning_rate=1e-5, gradient_checkpointing=True)
            more = {"sampler": UNetSampler(channels=(64, 128, 256)), "rewards": terms(EvenBytes()), "joint": settings}
        return evolution(
            mllm=mllm,
            evolve="joint" if self.joint else "sampler",
            grpo=GRPO(num_generations=self.num_rollouts),
            num_frames=self.num_frames,
            rows_per_forward=self.rows_per_forward,
            max_new_tokens=self.answer_tokens,
            lr_scheduler_type="constant",
            **more,
        )

    def videos(self) -> RandomVideos:
        return RandomVideos(
            num_questions=1, num_candidates=self.num_candidates, dim=768, height=self.height, width=self.width
        )

    def strategy(self, device: torch.device) -> Any:
        """Of the trainer."""
        if self.zero3:
            return ShardedStrategy(stage=3)
        return SingleDeviceStrategy(
            device=torch.device(device.type, device.index or 0) if device.type != "cpu" else "cpu"
        )

    def workload(self, folder: Path, prompt_tokens: int) -> Workload:
        """The same for the arithmetic of `recipes.launcher.cost`."""
        sampler = {"class_path": "modules.methods.tspo.agent.TSPOSampler", "init_args": {"dim": 768}}
        if self.joint:
            sampler = {
                "class_path": "modules.methods.msjoe.unet.UNetSampler",
                "init_args": {"channels": [64, 128, 256]},
            }
        loading = {"dtype": self.dtype, "lora": {"r": self.lora_rank} if self.lora_rank else None}
        mllm = {"path": str(folder), "loading": loading, "frames_per_grid": 1, "frame_pixels": list(self.pixels)}
        accuracy = {"by": "text" if self.joint else "options"}
        arguments = {
            "evolve": "joint" if self.joint else "sampler",
            "sampler": sampler,
            "mllm": {"class_path": "modules.mllms.qwen_vl.Qwen25VL", "init_args": mllm},
            "rewards": {
                "accuracy": {"reward": {"class_path": "modules.rewards.accuracy.Accuracy", "init_args": accuracy}},
            },
            "joint": {"gradient_checkpointing": True},
            "grpo": {"num_generations": self.num_rollouts},
            "num_frames": self.num_frames,
            "answering": {"rows_per_forward": self.rows_per_forward, "max_new_tokens": self.answer_tokens},
        }
        sharded = {"class_path": "modules.distributed.sharding.ShardedStrategy", "init_args": {"stage": 3}}
        recipe = {
            "model": {"class_path": "modules.rl.evolution.EvolutionModule", "init_args": arguments},
            "data": {"init_args": {"batch_size": 1, "max_candidates": self.num_candidates}},
            "trainer": {"devices": 1, "strategy": sharded if self.zero3 else "auto"},
        }
        return dataclasses.replace(workload_of(recipe), prompt_tokens=prompt_tokens)


_LONG = {"num_frames": 32, "rows_per_forward": 4, "answer_tokens": 256}
CASES = {
    "tspo_7b": Case(shape="Qwen/Qwen2.5-VL-7B-Instruct"),
    "joint_3b_lora": Case(shape="Qwen/Qwen2.5-VL-3B-Instruct", joint=True, lora_rank=64, **_LONG),
    "joint_3b_zero3": Case(shape="Qwen/Qwen2.5-VL-3B-Instruct", joint=True, zero3=True, **_LONG),
}
