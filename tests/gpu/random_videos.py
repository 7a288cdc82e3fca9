"""Questions on videos of random pixels, made on the spot: what a data module gives, without files or decoding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from modules.records import Candidates, QuestionBatch, VideoQuestion


class RandomVideos(L.LightningDataModule):
    """Batches of random frames and questions, in the place of files.

    Args:
        num_questions: B.
        num_candidates: T.
        dim: D, of the features.
        height, width: of a frame in pixels.
    """

    encoder = None

    def __init__(self, *, num_questions: int, num_candidates: int, dim: int, height: int, width: int) -> None:
        super().__init__()
        self.size = (num_questions, num_candidates, dim)
        self.pixels = (3, height, width)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(_Batches(self.size), batch_size=None)

    def questions(self, split: str) -> list[VideoQuestion]:
        """None is there before its batch is made."""
        return []

    # ---- what modules.systems.answering asks of a source of frames ----

    def stored_frames(self, candidates: Candidates, candidate_index: Tensor, encoder_key: str) -> None:
        return None

    def decode(self, candidates: Candidates, candidate_index: Tensor) -> Tensor:
        """The same pixels for the same frame."""
        frames = []
        for frame in candidate_index.tolist():
            generator = torch.Generator().manual_seed(frame)
            frames.append(torch.randint(0, 255, self.pixels, dtype=torch.uint8, generator=generator))
        return torch.stack(frames)

    def decode_many(self, asked: Sequence[tuple[Candidates, Tensor]]) -> Iterator[Tensor]:
        return (self.decode(candidates, index) for candidates, index in asked)

    def embed_texts(self, texts: list[str]) -> Tensor:
        return torch.randn(len(texts), self.size[2], generator=torch.Generator().manual_seed(len(texts)))

    def count_batch(self) -> None:
        pass


class _Batches(IterableDataset):
    """Endless, each a function of its number."""

    def __init__(self, size: tuple[int, int, int]) -> None:
        self.size = size

    def __iter__(self) -> Iterator[QuestionBatch]:
        number = 0
        while True:
            yield self.batch(number)
            number += 1

    def batch(self, number: int) -> QuestionBatch:
        (count, length, dim), generator = self.size, torch.Generator().manual_seed(number)
        times = torch.arange(length, dtype=torch.float64)
        names, options = [f"{number}-{n}" for n in range(count)], ("red", "green", "blue", "white")
        return QuestionBatch(
            [VideoQuestion("random", "train", n, n, float(length), f"What is in {n}?", options, 0) for n in names],
            [Candidates(n, torch.arange(length), times, float(length), length) for n in names],
            torch.randn(count, length, dim, generator=generator),
            torch.ones(count, length, dtype=torch.bool),
            times.float()[None].expand(count, -1),
            torch.randn(count, 1, dim, generator=generator),
        )
