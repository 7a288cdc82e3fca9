"""Questions about videos, ready to train on: probing, decoding, encoding, storing and batching.

Each video is decoded once over all ranks, whatever is to be made of its frames and however many questions it has, and
all ranks agree on which videos cannot be read, so that they hold the same questions in the same order.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.questions.bare_candidates import BareCandidates
from datamodules.questions.batch_order import BatchOrder
from datamodules.questions.items import Items, StoredFeatures, collate
from datamodules.questions.kept_questions import only_kept
from datamodules.questions.lookahead import LookaheadLoader
from datamodules.questions.needles import NeedleBuilder
from datamodules.questions.pass_rate_files import read_pass_rates, with_pass_rates
from datamodules.questions.step_frames import StepFrames
from datamodules.video.decode_pool import ReadRequest
from datamodules.video.encoding import Encoding
from datamodules.video.extraction import Shard, Summary, extract
from datamodules.video.feature_store import Entry, FeatureStore
from datamodules.video.frame_reader import FrameReader
from datamodules.video.placement import device_of, move, own_precision, placed
from datamodules.video.probe_store import ProbeStore
from datamodules.video.probing import probe_all
from modules.distributed.ranks import exchange
from modules.encoders.base import FrameEncoder, ImageTextEncoder
from modules.encoders.frame_demand import FrameDemand
from modules.records import Candidates, QuestionBatch, VideoQuestion

_log = logging.getLogger(__name__)


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
        on_bad_video: ``skip`` names, counts and leaves out a video that cannot be read; ``raise`` stops.
        num_workers: processes that decode, on each rank.
        decode_timeout_s: a file that gives no frame for so long is bad.
        pixel_cache_mib: host memory of each rank for decoded frames, half of it for those of the next batch, which are
            decoded during this one; 0 keeps none.
        pass_rates: file of pass rates (recipes/data/pass_rates.yaml) that questions are labelled with.
        pass_rate_range: train only on questions whose rate is at least and at most this.
        train_ids: train only on the questions of this file (recipes/data/margin_variance.yaml).
        needles: hides the training questions' videos among clips of others, anew for each batch (TSPO's needle data).
        selections: file of selections whose frames are the candidates, exactly; for precomputed selections.
        selections_system: which sampler's of them, where the file holds several.
        seed: of the order of questions.
    """

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
        on_bad_video: Literal["skip", "raise"] = "skip",
        num_workers: PositiveInt = 2,
        decode_timeout_s: PositiveFloat = 60.0,
        pixel_cache_mib: NonNegativeInt = 2048,
        pass_rates: str | None = None,
        pass_rate_range: tuple[float, float] | None = None,
        train_ids: str | None = None,
        needles: NeedleBuilder | None = None,
        selections: str | None = None,
        selections_system: str | None = None,
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
        if pass_rate_range is not None and not 0 <= pass_rate_range[0] <= pass_rate_range[1] <= 1:
            raise ValueError(f"pass_rate_range={list(pass_rate_range)}: two shares, the first no more than the second")
        self.selections, self.pass_rates, self.pass_rate_range = selections, pass_rates, pass_rate_range
        self.train_ids = train_ids
        self.encoder, self.needles = encoder, needles
        self.batch_size, self.eval_batch_size, self.seed = batch_size, eval_batch_size, seed
        self.candidate_fps, self.max_candidates, self.short_side_px = candidate_fps, max_candidates, short_side_px
        self.feature_short_side_px = feature_short_side_px or short_side_px
        self.on_bad_video, self.num_workers, self.decode_timeout_s = on_bad_video, num_workers, decode_timeout_s
        self.store = FeatureStore(Path(feature_dir), f"fps={candidate_fps:g},max={max_candidates}")
        self.probes = ProbeStore(self.store.root)
        self.reader = FrameReader(self.probes, short_side_px, num_workers, decode_timeout_s, pixel_cache_mib)
        self.bad_videos: dict[str, str] = {}
        self._encoding = Encoding(encoder, self.feature_short_side_px, short_side_px, self.store)
        self._bare = BareCandidates(self.reader, candidate_fps, max_candidates, selections, selections_system)
        self._questions: dict[str, list[VideoQuestion]] = {}
        self._items: dict[str, Items] = {}
        self._batches_used = 0
        self._resumed_batch: int | None = None

    @abstractmethod
    def load_questions(self, split: str) -> list[VideoQuestion]:
        """Reads or makes all questions of train, val, test or predict."""

    def questions(self, split: str) -> list[VideoQuestion]:
        """All questions of a split, loaded once."""
        if split not in self._questions:
            questions = self.load_questions(split)
            if self.pass_rates is not None:
                questions = with_pass_rates(questions, read_pass_rates(self.pass_rates))
            if self.pass_rate_range is not None and split == "train":
                low, high = self.pass_rate_range
                questions = [q for q in questions if q.pass_rate is not None and low <= q.pass_rate <= high]
            if self.train_ids is not None and split == "train":
                questions = only_kept(questions, self.train_ids)
            self._questions[split] = questions
        return self._questions[split]

    def splits(self, stage: str | None) -> list[str]:
        """Which splits a stage of the trainer needs."""
        return {"fit": ["train", "val"], "validate": ["val"], "test": ["test"], "predict": ["predict"]}[stage or "fit"]

    def describe(self) -> dict[str, Any]:
        """What an evaluation card has to name of the data."""
        sizes = f"short={self.short_side_px}/{self.feature_short_side_px}"
        grid = f"frames of {self.selections}" if self.selections else f"{self.store.grid},{sizes}"
        if self.encoder is None:
            return {"grid": grid, "encoder": None}
        told: dict[str, Any] = {"grid": grid, "encoder": self.encoder.key}
        if isinstance(self.encoder, ImageTextEncoder):
            told["questions cut by the encoder"] = self.encoder.num_truncated
        return told

    # ---- features ----

    def extract(self, others: Sequence[FrameEncoder], splits: Sequence[str], shard: Shard | None = None) -> Summary:
        """Stores what encoders make of every video that lacks an entry of one; each is decoded once, over all ranks.

        Args:
            others: encoders beside the data module's own, which see frames at ``short_side_px``.
            splits: whose videos.
            shard: share of the videos of this process, where it is one of an array; all of them by default.
        """
        videos = self.videos(splits) if shard is None else shard.of(self.videos(splits))
        views = self._encoding.share_a_decoding(others)
        device = device_of(self.trainer)
        with placed([view.encoder for view in views], device), own_precision(device):
            summary = extract(
                [v for v in videos if v not in self.bad_videos], views, self.store,
                ReadRequest("", None, self.candidate_fps, self.max_candidates),
                num_workers=self.num_workers, timeout_s=self.decode_timeout_s, on_bad_video=self.on_bad_video,
            )  # fmt: skip
        self.bad_videos |= summary.bad
        return summary

    def videos(self, splits: Sequence[str]) -> list[str]:
        """Every video of some splits, once."""
        return list(dict.fromkeys(q.video for split in splits for q in self.questions(split)))

    def _probe(self, split: str) -> None:
        """Stores what every video holds, without decoding it: enough to choose frames from."""
        videos = [video for video in self.videos([split]) if video not in self.bad_videos]
        self.bad_videos |= probe_all(videos, self.reader, self.on_bad_video)

    def stored_frames(self, candidates: Candidates, candidate_index: Tensor, encoder_key: str) -> Tensor | None:
        """What an encoder made of some candidates (N,): (N, ...), or None where it was not extracted."""
        return self._encoding.stored(candidates, candidate_index, encoder_key)

    def embed_texts(self, texts: list[str]) -> Tensor:
        """N texts -> float32 (N, D) of the encoder, on the device it was brought to."""
        return self._encoding.embed_texts(texts, device_of(self.trainer))

    # ---- frames ----

    def decode(self, candidates: Candidates, candidate_index: Tensor) -> Tensor | None:
        """Frames of increasing candidate indices (N,) as uint8 (N, 3, H, W); see `decode_many`."""
        return next(self.decode_many([(candidates, candidate_index)]))

    def decode_many(self, asked: Sequence[tuple[Candidates, Tensor]]) -> Iterator[Tensor | None]:
        """Frames of several questions, as `datamodules.questions.step_frames.StepFrames.of` gives them."""
        return self._step_frames.of(asked)

    @property
    def _step_frames(self) -> StepFrames:
        return StepFrames(self.reader, self.bad_videos, self.on_bad_video)

    def _collate(self, items: Sequence[tuple[VideoQuestion, Entry, Tensor]]) -> QuestionBatch:
        """A batch; what it will want decoded begins to be."""
        batch, demand = collate(items), self._demand
        if demand is not None and (wanted := demand.frames_per_question):
            self._step_frames.prefetch(batch.candidates, wanted)
        return batch

    @property
    def _demand(self) -> FrameDemand | None:
        """The module that is trained or evaluated, where it says what it will want."""
        module = None if self.trainer is None else self.trainer.lightning_module
        return module if isinstance(module, FrameDemand) else None

    def items(self, split: str) -> Items:
        """The questions of a split that was set up, each with the features of its video."""
        return self._items[split]

    # ---- Lightning ----

    def setup(self, stage: str) -> None:
        splits = [split for split in self.splits(stage) if split not in self._items]
        if not splits:
            return
        everywhere = exchange(self.bad_videos)
        self.bad_videos.clear()
        for bad in everywhere:
            self.bad_videos.update(bad)
        own = [] if self.encoder is None else [self.encoder]
        stored = nullcontext([]) if self._demand is None else self._demand.stored_encoders()
        with stored as others, placed(own, device_of(self.trainer)):
            if self.encoder is None:
                for split in splits:
                    self._probe(split)
            if self.encoder is not None or others:
                self.extract(others, splits)
            for split in splits:
                self._items[split] = self._make_items(split)

    def _make_items(self, split: str) -> Items:
        questions = [q for q in self.questions(split) if q.video not in self.bad_videos]
        if not questions:
            raise ValueError(f"no question of split {split!r} is left: {len(self.bad_videos)} videos cannot be read")
        queries = torch.zeros(len(questions), 1, 1)
        if isinstance(self.encoder, ImageTextEncoder):
            queries = self.embed_texts([q.question for q in questions])[:, None].cpu()
        entry_of: Callable[[VideoQuestion], Entry] = self._bare
        if self.encoder is not None:
            entry_of = StoredFeatures(self.store, self._encoding.key(self.encoder))
        return Items(questions, entry_of, queries, self.needles if split == "train" else None)

    @property
    def _rank(self) -> tuple[int, int]:
        """This process's rank, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_dataloader(self) -> DataLoader:
        items, (rank, num_ranks) = self._items["train"], self._rank
        self._go_on_with(self.batch_size * num_ranks)
        order = BatchOrder(len(items), self.batch_size, self.seed, self._batches_used, rank, num_ranks)
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
        self._batches_used += 1

    def _go_on_with(self, global_batch: int) -> None:
        """Where a resumed run begins, whose batches may be of another size, or on another number of ranks."""
        if self._resumed_batch is not None and self._resumed_batch != global_batch:
            used = self._batches_used * self._resumed_batch
            self._batches_used = -(-used // global_batch)
            _log.warning(
                "this run had batches of %d questions over all ranks and goes on with %d: it begins after %d "
                "questions, and from the end of this epoch on their order may differ from that of an undisturbed run",
                self._resumed_batch, global_batch, self._batches_used * global_batch,
            )  # fmt: skip
        self._resumed_batch = None

    def state_dict(self) -> dict[str, Any]:
        return {"batches_used": self._batches_used, "global_batch": self.batch_size * self._rank[1]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._batches_used, self._resumed_batch = state_dict["batches_used"], state_dict.get("global_batch")

    def teardown(self, stage: str) -> None:
        self.reader.stop()
        if self.encoder is not None:
            move(self.encoder, torch.device("cpu"))
