"""What a choice among memories on the Haystack world is made of, in small: condenser, memories, data and module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from evolution_settings import evolution, terms
from torch import Tensor

from datamodules.haystack.datamodule import HaystackData
from datamodules.video.decoding_settings import DecodingSettings
from modules.methods.training_free.random import Random
from modules.methods.training_free.recent import Recent
from modules.methods.training_free.uniform import Uniform
from modules.methods.videostreaming.condenser import ClipCondenser
from modules.methods.videostreaming.frame_tokens import MergedPatches
from modules.methods.videostreaming.language_layers import LanguageLayers
from modules.methods.videostreaming.memories import ClipMemories
from modules.methods.videostreaming.memory_reader import MemoryReader
from modules.methods.videostreaming.memory_selection import MemorySelection
from modules.mllms.prompt import Prompt
from modules.records import Candidates, QuestionBatch, VideoQuestion
from modules.rewards.probability import Probability
from modules.rl.evolution import EvolutionModule
from modules.rl.grpo import GRPO

WIDTH, CLIP = 32, 8


def condenser(path: Path, **settings: object) -> ClipCondenser:
    layers = LanguageLayers(path=str(path), num_layers=2)
    return ClipCondenser(layers=layers, token_dim=4 * WIDTH, clip_frames=CLIP, summaries_per_frame=1, **settings)


def memories(path: Path, **settings: object) -> ClipMemories:
    torch.manual_seed(2)
    return ClipMemories(patches=MergedPatches(path=str(path)), condenser=condenser(path, **settings))


def candidates(num_frames: int) -> Candidates:
    return Candidates("v.mp4", torch.arange(num_frames) * 3, torch.arange(num_frames).double(), float(num_frames))


def batch_of(lengths: list[int], features: Tensor) -> QuestionBatch:
    question = VideoQuestion("d", "s", "q", "v", 8.0, "What is shown?", ("red", "star"))
    mask = torch.arange(features.shape[1])[None] < torch.tensor(lengths)[:, None]
    clips = [candidates(CLIP * n).in_clips(CLIP) for n in lengths]
    return QuestionBatch(
        [question] * len(lengths), clips, features, mask, torch.zeros(mask.shape), torch.empty(len(lengths), 0, 0)
    )


class Stack:
    """Builds fresh, equal objects on shared files."""

    def __init__(self, root: Path, world: object, vlm: Path) -> None:
        self.root, self.world, self.vlm = root, world, vlm

    def data(self) -> HaystackData:
        return HaystackData(
            world=self.world,
            encoder=memories(self.vlm),
            decoding=DecodingSettings(num_workers=1),
            batch_size=4,
            num_train_videos=2,
            num_val_videos=1,
            num_test_videos=1,
            root=str(self.root / "videos"),
            feature_dir=str(self.root / "features"),
        )

    def module(self, **settings: Any) -> EvolutionModule:
        torch.manual_seed(3)
        reader = MemoryReader(
            path=str(self.vlm), memory_dim=WIDTH, memory_tokens=CLIP, prompt=Prompt(answer_with="words")
        )
        own: dict[str, Any] = {
            "sampler": MemorySelection(condenser=condenser(self.vlm)),
            "rewards": terms(Probability()),
            "grpo": GRPO(num_generations=4, loss_type="grpo"),
            "num_frames": 2,
            "learning_rate": 1e-2,
            "baselines": {"uniform": Uniform(), "recent": Recent(), "random": Random()},
        }
        return evolution(mllm=reader, **own | settings)
