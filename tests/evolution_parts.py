"""What a training on the Haystack world is made of, in small: data, module and trainer on shared files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from evolution_settings import evolution, terms
from quiet_trainer import quiet_trainer

from datamodules.haystack.datamodule import HaystackData
from datamodules.video.decoding_settings import DecodingSettings
from modules.encoders.open_clip import OpenCLIPEncoder
from modules.methods.training_free.top_k import TopK
from modules.methods.training_free.uniform import Uniform
from modules.methods.tspo.agent import TSPOSampler
from modules.mllms.llava_onevision import LlavaOnevision
from modules.mllms.prompt import Prompt
from modules.rewards.probability import Probability
from modules.rewards.temporal import TemporalLocating
from modules.rl.evolution import EvolutionModule
from modules.rl.grpo import GRPO


class Parts:
    """Builds fresh, equal objects on shared files."""

    def __init__(self, root: Path, world: Any, clip: Path, vlm: Path) -> None:
        self.root, self.world, self.clip, self.vlm = root, world, clip, vlm

    def data(self, **kwargs: Any) -> HaystackData:
        settings: dict[str, Any] = {"batch_size": 4, "num_train_videos": 3, "num_val_videos": 1, "num_test_videos": 2}
        settings |= {"decoding": DecodingSettings(num_workers=1)}
        folders = {"root": str(self.root / "videos"), "feature_dir": str(self.root / "features")}
        encoder = OpenCLIPEncoder(model=f"local-dir:{self.clip}")
        return HaystackData(world=self.world, encoder=encoder, **(settings | folders | kwargs))

    def module(self, **kwargs: Any) -> EvolutionModule:
        torch.manual_seed(3)
        settings: dict[str, Any] = {
            "rewards": terms(Probability(), TemporalLocating()),
            "grpo": GRPO(num_generations=4, loss_type="grpo"),
            "num_frames": 4,
            "learning_rate": 1e-2,
            "store_frame_tokens": True,
            "baselines": {"uniform": Uniform(), "clip_topk": TopK()},
            **kwargs,
        }
        mllm = LlavaOnevision(path=str(self.vlm), prompt=Prompt(answer_with="words"))
        return evolution(sampler=TSPOSampler(dim=32, num_heads=4), mllm=mllm, **settings)

    def trainer(self, max_steps: int = 2, **kwargs: Any) -> L.Trainer:
        return quiet_trainer(max_steps, **kwargs)
