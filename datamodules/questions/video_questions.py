"""Questions about videos, ready to train on: probing, decoding, encoding, storing and batching.

Each video is decoded once over all ranks, whatever is to be made of its frames and however many questions it has, and
all ranks agree on which videos cannot be read, so that they hold the same questions in the same order. The work is done
by parts: `QuestionFilter`, `FeaturePreparation`, `StepFrames`, `BatchOrder` and `BatchesUsed`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.questions.bad_videos import BadVideos
from datamodules.questions.bare_candidates import BareCandidates
from datamodules.questions.batch_order import BatchOrder
from datamodules.questions.batches_used import BatchesUsed
from datamodules.questions.feature_preparation import FeaturePreparation
from datamodules.questions.items import Items, collate
from datamodules.questions.lookahead import LookaheadLoader
from datamodules.questions.needles import NeedleBuilder
from datamodules.questions.question_filter import QuestionFilter
from datamodules.questions.selected_frames import SelectedFrames
from datamodules.questions.step_frames import StepFrames
from datamodules.video.candidate_grid import CandidateGrid
from datamodules.video.decoding_settings import DecodingSettings
from datamodules.video.extraction import Shard, Summary
from datamodules.video.feature_store import Entry, FeatureStore
from datamodules.video.frame_reader import FrameReader
from datamodules.video.placement import device_of
from datamodules.video.probe_store import ProbeStore
from modules.encoders.base import FrameEncoder
from modules.encoders.frame_demand import FrameDemand
from modules.records import Candidates, QuestionBatch, VideoQuestion


class VideoQuestionData(L.LightningDataModule):
    """Base of every data set of `VideoQuestion`; a subclass says which questions there are.

    The encoder lies on the trainer's device (in jobs: on the accelerator that is there) while videos are encoded and
    questions embedded, and gives its memory there back afterwards. Where queries are written in training it goes there
    again with the first of them and stays until the stage ends. It is no part of the module that is trained: neither
    that module's state nor its precision reaches it.

    Args:
        encoder: of frames and questions, or of frames alone where a sampler reads questions itself; None where no
            sampler looks at features (uniform, precomputed): then no frame is decoded that is not shown.
        feature_dir: where the feature store lies.
        batch_size: questions a step and rank.
        eval_batch_size: questions a batch of validation and test.
        candidate_fps: candidates per second of video.
        max_candidates: at most so many; longer videos are sampled more sparsely.
        short_side_px: decode frames at most this large; None keeps the size of the file.
        feature_short_side_px: the encoder sees frames at most this large; None as ``short_side_px``.
        decoding: with how many processes and how much memory, and what becomes of a video that cannot be read.
        filter: which questions are used, and what is known of how hard they are.
        needles: hides the training questions' videos among clips of others, anew for each batch (TSPO's needle data).
        selections: frames that are the candidates, exactly, in the place of the grid; for precomputed selections.
        seed: of the order of questions.
    """

    former_keys: ClassVar[dict[str, str]] = {
        "on_bad_video": "it is now decoding.on_bad_video",
        "num_workers": "it is now decoding.num_workers",
        "decode_timeout_s": "it is now decoding.timeout_s",
        "pixel_cache_mib": "it is now decoding.pixel_cache_mib",
        "pass_rates": "it is now filter.pass_rates",
        "pass_rate_range": "it is now filter.pass_rate_range",
        "train_ids": "it is now filter.train_ids",
        "selections_system": "it is now selections.system, beside selections.path",
        "selections_arm": "it is now selections.system, beside selections.path",
    }
    """Keys that recipes had once, and what to write in their place."""

    def __init__(
        self,
        *,
        encoder: FrameEncoder | None = None,
        feature_dir: str = "data/features",
        batch_size: PositiveInt = 16,
        eval_batch_size: PositiveInt = 32,
        candidate_fps: PositiveFloat = 1.0,
        max_candidates: PositiveInt | None = None,
        short_side_px: PositiveInt | None = None,
        feature_short_side_px: PositiveInt | None = None,
        decoding: DecodingSettings = DecodingSettings(),
        filter: QuestionFilter = QuestionFilter(),
        needles: NeedleBuilder | None = None,
        selections: SelectedFrames | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.prepare_data_per_node = False  # videos and features lie where every node reads them
        if selections is not None and encoder is not None:
            raise ValueError(
                "data.selections fixes the candidates, so there is nothing to encode: encoder has to be null"
            )
        if needles is not None and encoder is None:
            raise ValueError("needles are built from features: they need an encoder")
        self.encoder, self.needles, self.decoding, self.filter = encoder, needles, decoding, filter
        self.device: torch.device | None = None
        """Where encoders compute; None: where the trainer does."""
        self.batch_size, self.eval_batch_size, self.seed = batch_size, eval_batch_size, seed
        self.bad_videos, self.batches_used = BadVideos(decoding.on_bad_video), BatchesUsed()
        grid, folder = CandidateGrid(candidate_fps, max_candidates), Path(feature_dir)
        self.reader = FrameReader(ProbeStore(folder), short_side_px, decoding)
        self.frames = StepFrames(self.reader, self.bad_videos)
        self.features = FeaturePreparation(
            *(encoder, folder, grid),
            short_side_px=feature_short_side_px,
            reader=self.reader,
            bare=BareCandidates(self.reader, grid, selections),
            bad_videos=self.bad_videos,
            decoding=decoding,
        )
        self._questions: dict[str, list[VideoQuestion]] = {}
        self._items: dict[str, Items] = {}

    # ---- questions ----

    @abstractmethod
    def load_questions(self, split: str) -> list[VideoQuestion]:
        """Reads or makes all questions of train, val, test or predict."""

    def questions(self, split: str) -> list[VideoQuestion]:
        """The questions of a split that are used, loaded once."""
        if split not in self._questions:
            self._questions[split] = self.filter.of(self.load_questions(split), split)
        return self._questions[split]

    def videos(self, splits: Sequence[str]) -> list[str]:
        """Every video of some splits, once."""
        return list(dict.fromkeys(q.video for split in splits for q in self.questions(split)))

    def items(self, split: str) -> Items:
        """The questions of a split that was set up, each with the features of its video."""
        return self._items[split]

    def splits(self, stage: str | None) -> list[str]:
        """Which splits a stage of the trainer needs."""
        return {"fit": ["train", "val"], "validate": ["val"], "test": ["test"], "predict": ["predict"]}[stage or "fit"]

    def describe(self) -> dict[str, Any]:
        """What an evaluation card has to name of the data."""
        return self.features.describe()

    # ---- frames and features ----

    @property
    def store(self) -> FeatureStore:
        """Where features lie."""
        return self.features.store

    def extract(self, others: Sequence[FrameEncoder], splits: Sequence[str], shard: Shard | None = None) -> Summary:
        """Stores what encoders make of every video that lacks an entry of one; each is decoded once, over all ranks.

        Args:
            others: encoders beside the data module's own, which see frames at ``short_side_px``.
            splits: whose videos.
            shard: share of the videos of this process, where it is one of an array; all of them by default.
        """
        videos = self.videos(splits) if shard is None else shard.of(self.videos(splits))
        return self.features.extract(videos, others, self._device)

    def frames_key(self, candidates: Candidates) -> str:
        """A file name for what `decode` gives of these candidates; another file or another size has another."""
        return self.reader.key(candidates)

    def stored_frames(self, candidates: Candidates, candidate_index: Tensor, encoder_key: str) -> Tensor | None:
        """What an encoder made of some candidates (N,): (N, ...), or None where it was not extracted."""
        return self.features.encoding.stored(candidates, candidate_index, encoder_key)

    def embed_texts(self, texts: list[str]) -> Tensor:
        """N texts -> float32 (N, D) of the encoder, on the device it was brought to."""
        return self.features.encoding.embed_texts(texts, self._device)

    def decode(self, candidates: Candidates, candidate_index: Tensor) -> Tensor | None:
        """Frames of increasing candidate indices (N,) as uint8 (N, 3, H, W); see `decode_many`."""
        return next(self.decode_many([(candidates, candidate_index)]))

    def decode_many(self, asked: Sequence[tuple[Candidates, Tensor]]) -> Iterator[Tensor | None]:
        """Frames of several questions, as `datamodules.questions.step_frames.StepFrames.of` gives them."""
        return self.frames.of(asked)

    # ---- Lightning ----

    @property
    def _demand(self) -> FrameDemand | None:
        """The module that is trained or evaluated, where it says what it will want."""
        module = None if self.trainer is None else self.trainer.lightning_module
        return module if isinstance(module, FrameDemand) else None

    @property
    def _device(self) -> torch.device:
        return self.device or device_of(self.trainer)

    @property
    def _rank(self) -> tuple[int, int]:
        """This process's rank, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def setup(self, stage: str) -> None:
        splits = [split for split in self.splits(stage) if split not in self._items]
        if not splits:
            return
        self.bad_videos.share()
        device = self._device
        stored = nullcontext([]) if self._demand is None else self._demand.stored_encoders()
        with stored as others, self.features.encoder_on(device):
            self.features.prepare(self.videos(splits), others, device)
            for split in splits:
                self._items[split] = self._make_items(split)

    def _make_items(self, split: str) -> Items:
        questions = [q for q in self.questions(split) if q.video not in self.bad_videos]
        if not questions:
            raise ValueError(f"no question of split {split!r} is left: {len(self.bad_videos)} videos cannot be read")
        return self._items_of(questions, self.needles if split == "train" else None)

    def _items_of(self, questions: list[VideoQuestion], needles: NeedleBuilder | None) -> Items:
        return Items(questions, self.features.entry_of(), self.features.queries(questions, self._device), needles)

    def batch_of(self, questions: list[VideoQuestion]) -> QuestionBatch:
        """Questions of no split as a batch on the host; a video is decoded and encoded with its first question.

        Raises:
            BadVideoError: a video cannot be read, under ``on_bad_video: raise``.
        """
        with self.features.encoder_on(self._device):
            self.features.prepare(list(dict.fromkeys(q.video for q in questions)), [], self._device)
            items = self._items_of(questions, None)
        return collate([items[n] for n in range(len(items))])

    def _collate(self, items: Sequence[tuple[VideoQuestion, Entry, Tensor]]) -> QuestionBatch:
        """A batch; what it will want decoded begins to be."""
        batch = collate(items)
        if self._demand is not None:
            self.frames.prefetch(batch.candidates, self._demand.frames_per_question)
        return batch

    def train_dataloader(self) -> DataLoader:
        items, (rank, num_ranks) = self._items["train"], self._rank
        first_batch = self.batches_used.begin(self.batch_size * num_ranks)
        order = BatchOrder(len(items), self.batch_size, self.seed, first_batch, rank, num_ranks)
        return DataLoader(items, batch_sampler=order, collate_fn=self._collate)

    def _eval_dataloader(self, split: str) -> DataLoader:
        items, (rank, num_ranks) = self._items[split], self._rank
        # each question on one rank; a rank that would have none answers another's too, since all have to take part
        mine = range(rank, len(items), num_ranks) or [rank % len(items)]
        return LookaheadLoader(items, batch_size=self.eval_batch_size, sampler=mine, collate_fn=self._collate)

    def val_dataloader(self) -> DataLoader:
        return self._eval_dataloader("val")

    def test_dataloader(self) -> DataLoader:
        return self._eval_dataloader("test")

    def predict_dataloader(self) -> DataLoader:
        return self._eval_dataloader("predict")

    def count_batch(self) -> None:
        """Called by the module after each training batch; what `state_dict` needs to go on from there."""
        self.batches_used.count += 1

    def state_dict(self) -> dict[str, Any]:
        return self.batches_used.state(self.batch_size * self._rank[1])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.batches_used.restore(state_dict)

    def teardown(self, stage: str) -> None:
        self.features.stop()
