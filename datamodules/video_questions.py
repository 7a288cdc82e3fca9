"""Questions about videos, ready to train on: probing, decoding, encoding, storing and batching.

Each video is decoded once, whatever is to be made of its frames and however many questions it has. A batch is a pure
function of (seed, number of the batch), so a resumed run goes on with the very batch the killed one would have had.
"""

from __future__ import annotations

import dataclasses
import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler

from datamodules.decoding import DecodeWorker, ReadRequest
from datamodules.extraction import Shard, Summary, extract
from datamodules.features import Entry, FeatureStore
from datamodules.kept_questions import only_kept
from datamodules.needles import NeedleBuilder
from datamodules.pass_rates import read_pass_rates, with_pass_rates
from datamodules.video import BadVideoError, grid_of
from modules.encoders.base import FrameEncoder, ImageTextEncoder
from modules.records import Candidates, QuestionBatch, VideoQuestion
from modules.selections import read_selections

_log = logging.getLogger(__name__)
_TIMES = "times-v1"


class BatchOrder(Sampler[list[tuple[int, int]]]):
    """Endless batches: epoch e is the permutation of seed + e, dealt to ranks in turn; starts at any batch.

    Yields lists of (question, number of the batch); the number seeds whatever a data set draws for it.

    Args:
        num_items: length of the data set.
        batch_size: items a batch and rank.
        seed: of the permutations.
        first_batch: how many batches were already used.
        rank, num_ranks: which share of each global batch is this process's.
    """

    def __init__(
        self, num_items: int, batch_size: int, seed: int, first_batch: int = 0, rank: int = 0, num_ranks: int = 1
    ) -> None:
        self.global_batch = batch_size * num_ranks
        if num_items < self.global_batch:
            raise ValueError(
                f"{num_items} questions do not fill one batch of {batch_size} on each of {num_ranks} ranks"
            )
        self.num_items, self.batch_size, self.seed = num_items, batch_size, seed
        self.first_batch, self.rank, self.num_ranks = first_batch, rank, num_ranks

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch = self.num_items // self.global_batch
        number = self.first_batch
        while True:
            epoch, within = divmod(number, per_epoch)
            order = torch.randperm(self.num_items, generator=torch.Generator().manual_seed(self.seed + epoch))
            for n in range(within, per_epoch):
                start = n * self.global_batch + self.rank * self.batch_size
                yield [(i, number) for i in order[start : start + self.batch_size].tolist()]
                number += 1


@dataclasses.dataclass(frozen=True)
class _Stored:
    """The stored features of a question's video."""

    store: FeatureStore
    key: str

    def __call__(self, question: VideoQuestion) -> Entry:
        return self.store.load(question.video, self.key)


class _Items(Dataset):
    """Questions with the features of their videos, as they are (index) or as needles (index, number of the batch)."""

    def __init__(
        self,
        questions: list[VideoQuestion],
        entry_of: Callable[[VideoQuestion], Entry],
        queries: Tensor,
        needles: NeedleBuilder | None,
    ) -> None:
        self.questions, self.entry_of, self.queries, self.needles = questions, entry_of, queries, needles

    def __len__(self) -> int:
        return len(self.questions)

    def entry(self, i: int) -> Entry:
        return self.entry_of(self.questions[i])

    def __getitem__(self, which: int | tuple[int, int]) -> tuple[VideoQuestion, Entry, Tensor]:
        i, number = which if isinstance(which, tuple) else (which, 0)
        question, entry = self.questions[i], self.entry(i)
        if self.needles is not None and self.needles.applies(question):
            question, entry = self.needles.build(question, entry, self.questions, self.entry, number)
        elif not question.duration_s:
            question = dataclasses.replace(question, duration_s=entry.candidates.duration_s)
        return question, entry, self.queries[i]


def collate(items: Sequence[tuple[VideoQuestion, Entry, Tensor]]) -> QuestionBatch:
    """Pads B questions to the longest video."""
    questions, entries, queries = zip(*items, strict=True)
    lengths = torch.tensor([len(e.candidates) for e in entries])
    return QuestionBatch(
        questions=list(questions),
        candidates=[e.candidates for e in entries],
        features=pad_sequence([e.features.float() for e in entries], batch_first=True),
        mask=torch.arange(int(lengths.max()))[None] < lengths[:, None],
        timestamps_s=pad_sequence([e.candidates.timestamps_s.float() for e in entries], batch_first=True),
        queries=torch.stack(queries),
    )


class VideoQuestionData(L.LightningDataModule):
    """Base of every data set of `VideoQuestion`; a subclass says which questions there are.

    Args:
        encoder: of frames and questions, or of frames alone where a sampler reads questions itself; None where no
            sampler looks at features (uniform, precomputed): then no frame is decoded that is not shown.
        feature_dir: where the feature store lies.
        batch_size: questions a step and rank.
        eval_batch_size: questions a batch of validation and test.
        candidate_fps: candidates per second of video.
        max_candidates: at most so many; longer videos are sampled more sparsely.
        short_side_px: decode frames at most this large; None keeps the size of the file.
        feature_short_side_px: decode frames that only the encoder sees at most this large; None as ``short_side_px``.
        on_bad_video: ``skip`` names, counts and leaves out a video that cannot be read; ``raise`` stops.
        num_workers: processes that decode.
        decode_timeout_s: a file that gives no frame for so long is bad.
        pass_rates: file of pass rates (recipes/data/pass_rates.yaml) that questions are labelled with.
        pass_rate_range: train only on questions whose rate is at least and at most this.
        train_ids: train only on the questions of this file (recipes/data/margin_variance.yaml).
        needles: hides the training questions' videos among clips of others, anew for each batch (TSPO's needle data).
        selections: file of selections whose frames are the candidates, exactly; for precomputed selections.
        selections_arm: which sampler's of them, where the file holds several.
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
        pass_rates: str | None = None,
        pass_rate_range: tuple[float, float] | None = None,
        train_ids: str | None = None,
        needles: NeedleBuilder | None = None,
        selections: str | None = None,
        selections_arm: str | None = None,
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
        self._chosen = (
            {} if selections is None else {r.sample_id: r for r in read_selections(selections, selections_arm)}
        )
        self.encoder, self.needles = encoder, needles
        self.batch_size, self.eval_batch_size, self.seed = batch_size, eval_batch_size, seed
        self.candidate_fps, self.max_candidates, self.short_side_px = candidate_fps, max_candidates, short_side_px
        self.feature_short_side_px = feature_short_side_px or short_side_px
        self.on_bad_video, self.num_workers, self.decode_timeout_s = on_bad_video, num_workers, decode_timeout_s
        grid = f"fps={candidate_fps:g},max={max_candidates},short={short_side_px}/{self.feature_short_side_px}"
        self.store, self.times = FeatureStore(Path(feature_dir), grid), FeatureStore(Path(feature_dir), "every frame")
        self.bad_videos: dict[str, str] = {}
        self._worker = DecodeWorker(decode_timeout_s)
        self._questions: dict[str, list[VideoQuestion]] = {}
        self._items: dict[str, _Items] = {}
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
        grid = f"frames of {self.selections}" if self.selections else self.store.grid
        if self.encoder is None:
            return {"grid": grid, "encoder": None}
        told: dict[str, Any] = {"grid": grid, "encoder": self.encoder.key}
        if isinstance(self.encoder, ImageTextEncoder):
            told["questions cut by the encoder"] = self.encoder.num_truncated
        return told

    # ---- features ----

    def extract(self, encoders: Sequence[FrameEncoder], splits: Sequence[str], shard: Shard | None = None) -> Summary:
        """Decodes every video that lacks an entry of some encoder, once, and stores what the encoders make of it."""
        videos = (shard or Shard(index=0, count=1)).of(self.videos(splits))
        only_encoder = all(e is self.encoder for e in encoders)
        short_side_px = self.feature_short_side_px if only_encoder else self.short_side_px
        summary = extract(
            [v for v in videos if v not in self.bad_videos], encoders, self.store,
            ReadRequest("", None, self.candidate_fps, self.max_candidates, short_side_px),
            num_workers=self.num_workers, timeout_s=self.decode_timeout_s, on_bad_video=self.on_bad_video,
        )  # fmt: skip
        self.bad_videos |= summary.bad
        return summary

    def videos(self, splits: Sequence[str]) -> list[str]:
        """Every video of some splits, once."""
        return list(dict.fromkeys(q.video for split in splits for q in self.questions(split)))

    def _probe(self, split: str) -> None:
        """Stores the times of all frames of every video, without decoding them: enough to choose frames from."""
        for video in self.videos([split]):
            if video in self.bad_videos or (Path(video).is_file() and self.times.has(video, _TIMES)):
                continue
            try:
                info = self._worker.probe(video)
            except BadVideoError as error:
                if self.on_bad_video == "raise":
                    raise
                _log.warning("%s", error)
                self.bad_videos[video] = error.reason
                continue
            every = torch.arange(info.num_frames)
            candidates = Candidates(video, every, torch.from_numpy(info.timestamps_s), info.duration_s, info.num_frames)
            self.times.save(video, _TIMES, Entry(candidates, torch.zeros(info.num_frames, 1, dtype=torch.float16)))

    def _from_times(self, question: VideoQuestion) -> Entry:
        """The candidates of a question, without features: the grid, or exactly the frames of a selections file."""
        every = self.times.load(question.video, _TIMES).candidates
        if question.sample_id in self._chosen:
            frame_ids = np.array(self._chosen[question.sample_id].frame_ids)
            if frame_ids.max(initial=-1) >= every.num_video_frames:
                raise ValueError(
                    f"{self.selections}: question {question.sample_id} has frame {frame_ids.max()}, but "
                    f"{question.video} has {every.num_video_frames} frames; another version of the file?"
                )
        elif self._chosen:
            raise ValueError(f"{self.selections} has no selection for question {question.sample_id}")
        else:
            frame_ids = grid_of(every.timestamps_s.numpy(), every.duration_s, self.candidate_fps, self.max_candidates)
        ids = torch.from_numpy(frame_ids)
        candidates = dataclasses.replace(every, frame_ids=ids, timestamps_s=every.timestamps_s[ids])
        return Entry(candidates, torch.zeros(len(ids), 1))

    def stored_frames(self, candidates: Candidates, candidate_index: Tensor, encoder_key: str) -> Tensor | None:
        """What an encoder made of some candidates (N,): (N, ...), or None where it was not extracted."""
        parts: list[tuple[Tensor, Tensor]] = []
        for video, where in candidates.by_source(candidate_index):
            try:
                entry = self.store.load(video, encoder_key)
            except KeyError:
                return None
            frame_ids = candidates.frame_ids[candidate_index[where]]
            parts.append((where, entry.features[torch.searchsorted(entry.candidates.frame_ids, frame_ids)]))
        out = parts[0][1].new_empty(len(candidate_index), *parts[0][1].shape[1:])
        for where, features in parts:
            out[where] = features
        return out

    def embed_texts(self, texts: list[str]) -> Tensor:
        """N texts -> float32 (N, D) of the encoder."""
        if not isinstance(self.encoder, ImageTextEncoder):
            raise ValueError("written queries are compared with frames: data.encoder has to be one of images and texts")
        return torch.cat([self.encoder.encode_texts(texts[n : n + 256]) for n in range(0, len(texts), 256)]).cpu()

    def decode(self, candidates: Candidates, candidate_index: Tensor) -> Tensor:
        """Frames of increasing candidate indices (N,) as uint8 (N, 3, H, W); each file is opened once.

        Frames of other files than the first are resized to its size (a needle among clips).
        """
        out: Tensor | None = None
        for video, where in candidates.by_source(candidate_index):
            frame_ids, inverse = candidates.frame_ids[candidate_index[where]].unique(return_inverse=True)
            request = ReadRequest(video, tuple(frame_ids.tolist()), short_side_px=self.short_side_px)
            frames = torch.from_numpy(self._worker.read(request)[2]).permute(0, 3, 1, 2)[inverse]
            if out is None:
                out = frames.new_empty(len(candidate_index), *frames.shape[1:])
            if frames.shape[1:] != out.shape[1:]:
                size = (out.shape[2], out.shape[3])
                frames = torch.nn.functional.interpolate(frames.float(), size, mode="bilinear", antialias=True).byte()
            out[where] = frames
        assert out is not None
        return out

    def items(self, split: str) -> _Items:
        """The questions of a split that was set up, each with the features of its video."""
        return self._items[split]

    # ---- Lightning ----

    def setup(self, stage: str) -> None:
        for split in self.splits(stage):
            if split in self._items:
                continue
            if self.encoder is None:
                self._probe(split)
            else:
                self.extract([self.encoder], [split])
            questions = [q for q in self.questions(split) if q.video not in self.bad_videos]
            if not questions:
                raise ValueError(
                    f"no question of split {split!r} is left: {len(self.bad_videos)} videos cannot be read"
                )
            queries = torch.zeros(len(questions), 1, 1)
            if isinstance(self.encoder, ImageTextEncoder):
                queries = self.embed_texts([q.question for q in questions])[:, None]
            entry = self._from_times if self.encoder is None else _Stored(self.store, self.encoder.key)
            self._items[split] = _Items(questions, entry, queries, self.needles if split == "train" else None)

    @property
    def _rank(self) -> tuple[int, int]:
        """This process's rank, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_dataloader(self) -> DataLoader:
        items, (rank, num_ranks) = self._items["train"], self._rank
        self._go_on_with(self.batch_size * num_ranks)
        order = BatchOrder(len(items), self.batch_size, self.seed, self._batches_used, rank, num_ranks)
        return DataLoader(items, batch_sampler=order, collate_fn=collate)

    def _eval_dataloader(self, split: str) -> DataLoader:
        items, (rank, num_ranks) = self._items[split], self._rank
        # each question on one rank; a rank that would have none answers another's too, since all have to take part
        mine = range(rank, len(items), num_ranks) or [rank % len(items)]
        return DataLoader(items, batch_size=self.eval_batch_size, sampler=mine, collate_fn=collate)

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
        self._worker.stop()
