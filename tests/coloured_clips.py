"""A small SwinBERT and clips of two colours in memory, to train it on in seconds, on one rank or more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from swinbert_parts import small_swin
from torch import Tensor
from torch.utils.data import DataLoader

from modules.methods.swinbert.caption_encoder import EncoderSize
from modules.methods.swinbert.caption_rates import CaptionRates
from modules.methods.swinbert.caption_training import CaptionTraining, ClipFrames
from modules.methods.swinbert.captioning_system import CaptionDecoding
from modules.methods.swinbert.masked_word_loss import MaskedWordLoss
from modules.methods.swinbert.video_masks import LogMask, VideoMask
from modules.records import Candidates, QuestionBatch, VideoQuestion
from modules.rl.optimization import Optimization

_COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class ColouredClips(L.LightningDataModule):
    """Clips of one colour, then another, from memory; ``bad`` are files that cannot be decoded."""

    def __init__(self, bad: Sequence[str] = (), *, size_px: int = 16) -> None:
        super().__init__()
        self.bad, self.size_px, self.counted = set(bad), size_px, 0
        self.bad_videos: dict[str, str] = {}
        self._questions = [
            VideoQuestion(
                *("colours", "train", f"{a}-{b}", f"{a}-{b}.mp4", 4.0, "Describe the video."),
                references=(f"{a} becomes {b}",),
                groups={"kind": "order"},
            )
            for a in _COLOURS
            for b in _COLOURS
            if a != b
        ]

    def questions(self, split: str) -> list[VideoQuestion]:
        return self._questions

    def describe(self) -> dict[str, Any]:
        return {}

    def decode_many(self, asked: Sequence[tuple[Candidates, Tensor]]) -> Iterator[Tensor | None]:
        for candidates, index in asked:
            if candidates.video in self.bad:
                self.bad_videos[candidates.video] = "cannot be decoded"
                yield None
                continue
            names = Path(candidates.video).stem.split("-")
            colours = torch.tensor([_COLOURS[names[int(n >= 4)]] for n in index])
            yield colours[:, :, None, None].expand(-1, -1, self.size_px, self.size_px + 4).to(torch.uint8)

    def count_batch(self) -> None:
        self.counted += 1

    def batch_of(self, questions: list[VideoQuestion]) -> QuestionBatch:
        times = torch.arange(8, dtype=torch.float64) / 2
        candidates = [Candidates(q.video, torch.arange(8), times, 4.0, 8) for q in questions]
        size = (len(questions), 8)
        return QuestionBatch(
            *(questions, candidates, torch.zeros(*size, 0), torch.ones(size).bool()),
            times.float().expand(size),
            torch.zeros(len(questions), 0, 0),
        )

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self._questions * 50, batch_size=6, collate_fn=self.batch_of)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self._questions, batch_size=4, collate_fn=self.batch_of)

    test_dataloader = val_dataloader


def caption_training(mask: VideoMask | None = None, **settings: Any) -> CaptionTraining:
    """Learns six captions in 70 updates; ``settings`` go over its own."""
    torch.manual_seed(0)
    own: dict[str, Any] = {
        "backbone": small_swin(),
        "mask": mask or LogMask(),
        "encoder": EncoderSize(
            width=32,
            num_layers=2,
            num_heads=2,
            inner_width=64,
            video_width=16,
            max_positions=16,
            dropout=0.0,
            video_places=True,
            initial_std=0.1,
        ),
        "frames": ClipFrames(num_frames=4, size_px=16),
        "objective": MaskedWordLoss(captions_per_video=2),
        "sparsity_weight": 0.1,
        "optimizer": Optimization(learning_rate=4e-3, warmup_steps=5, lr_scheduler_type="constant_with_warmup"),
        "rates": CaptionRates(backbone_lr_share=1.0),
        "decoding": CaptionDecoding(max_words=8),
    }
    return CaptionTraining(**{**own, **settings})
