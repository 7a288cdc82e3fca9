"""Questions about videos, ready to train on: probing, decoding, encoding, storing and batching.

Each video is decoded once, whatever is to be made of its frames and however many questions it has. A batch is a pure
function of (seed, number of the batch), so a resumed run goes on with the very batch the killed one would have had.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler

from datamodules.features import Entry, FeatureStore
from datamodules.needles import NeedleBuilder
from datamodules.video import BadVideoError, DecodeWorker, ReadRequest, read_many
from modules.encoders.base import FrameEncoder, ImageTextEncoder
from modules.records import Candidates, QuestionBatch, VideoQuestion

_log = logging.getLogger(__name__)


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


class _Items(Dataset):
    """Questions with the features of their videos, as they are (index) or as needles (index, number of the batch)."""

    def __init__(
        self,
        questions: list[VideoQuestion],
        store: FeatureStore,
        key: str,
        queries: Tensor,
        needles: NeedleBuilder | None,
    ) -> None:
        self.questions, self.store, self.key, self.queries, self.needles = questions, store, key, queries, needles

    def __len__(self) -> int:
        return len(self.questions)

    def entry(self, i: int) -> Entry:
        return self.store.load(self.questions[i].video, self.key)

    def __getitem__(self, which: int | tuple[int, int]) -> tuple[VideoQuestion, Entry, Tensor]:
        i, number = which if isinstance(which, tuple) else (which, 0)
        question, entry = self.questions[i], self.entry(i)
        if self.needles is not None and self.needles.applies(question):
            question, entry = self.needles.build(question, entry, self.questions, self.entry, number)
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
        encoder: of frames and questions.
        feature_dir: where the feature store lies.
        batch_size: questions a step and rank.
        eval_batch_size: questions a batch of validation and test.
        candidate_fps: candidates per second of video.
        max_candidates: at most so many; longer videos are sampled more sparsely.
        short_side_px: decode frames at most this large; None keeps the size of the file.
        on_bad_video: ``skip`` names, counts and leaves out a video that cannot be read; ``raise`` stops.
        num_workers: processes that decode.
        decode_timeout_s: a file that gives no frame for so long is bad.
        needles: hides the training questions' videos among clips of others, anew for each batch (TSPO's needle data).
        seed: of the order of questions.
    """

    def __init__(
        self,
        *,
        encoder: ImageTextEncoder,
        feature_dir: str = "data/features",
        batch_size: PositiveInt = 16,
        eval_batch_size: PositiveInt = 32,
        candidate_fps: PositiveFloat = 1.0,
        max_candidates: PositiveInt | None = None,
        short_side_px: PositiveInt | None = None,
        on_bad_video: Literal["skip", "raise"] = "skip",
        num_workers: PositiveInt = 2,
        decode_timeout_s: PositiveFloat = 60.0,
        needles: NeedleBuilder | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.encoder, self.needles = encoder, needles
        self.batch_size, self.eval_batch_size, self.seed = batch_size, eval_batch_size, seed
        self.candidate_fps, self.max_candidates, self.short_side_px = candidate_fps, max_candidates, short_side_px
        self.on_bad_video, self.num_workers, self.decode_timeout_s = on_bad_video, num_workers, decode_timeout_s
        grid = f"fps={candidate_fps:g},max={max_candidates},short={short_side_px}"
        self.store = FeatureStore(Path(feature_dir), grid)
        self.bad_videos: dict[str, str] = {}
        self._worker = DecodeWorker(decode_timeout_s)
        self._questions: dict[str, list[VideoQuestion]] = {}
        self._items: dict[str, _Items] = {}
        self._batches_used = 0

    @abstractmethod
    def load_questions(self, split: str) -> list[VideoQuestion]:
        """Reads or makes all questions of train, val, test or predict."""

    def questions(self, split: str) -> list[VideoQuestion]:
        """All questions of a split, loaded once."""
        if split not in self._questions:
            self._questions[split] = self.load_questions(split)
        return self._questions[split]

    def splits(self, stage: str | None) -> list[str]:
        """Which splits a stage of the trainer needs."""
        return {"fit": ["train", "val"], "validate": ["val"], "test": ["test"], "predict": ["predict"]}[stage or "fit"]

    # ---- features ----

    def extract(self, encoders: Sequence[FrameEncoder], splits: Sequence[str]) -> None:
        """Decodes every video that lacks an entry of some encoder, once, and stores what the encoders make of it."""
        videos = list(dict.fromkeys(q.video for split in splits for q in self.questions(split)))
        missing = [v for v in videos if v not in self.bad_videos and self._lacks(v, encoders)]
        requests = [ReadRequest(v, None, self.candidate_fps, self.max_candidates, self.short_side_px) for v in missing]
        if not requests:
            return
        columns = (TextColumn("[progress.description]{task.description}"), BarColumn(), MofNCompleteColumn(),
                   TextColumn("{task.fields[rate]}"), TimeRemainingColumn())  # fmt: skip
        num_frames = 0
        with Progress(*columns) as progress:
            task = progress.add_task("Decoding and encoding videos", total=len(requests), rate="")
            for request, result in read_many(requests, self.num_workers, self.decode_timeout_s):
                if isinstance(result, BadVideoError):
                    self._note_bad(result)
                else:
                    self._encode(request.path, result, encoders)
                    num_frames += len(result[1])
                elapsed = progress.tasks[task].elapsed or 1.0
                progress.update(task, advance=1, rate=f"{num_frames / elapsed:.0f} frames/s")
        if self.bad_videos:
            _log.warning("%d of %d videos cannot be read and are left out", len(self.bad_videos), len(videos))

    def _lacks(self, video: str, encoders: Sequence[FrameEncoder]) -> bool:
        if not Path(video).is_file():
            self._note_bad(BadVideoError(video, "no such file"))
            return False
        return not all(self.store.has(video, e.key) for e in encoders)

    def _note_bad(self, error: BadVideoError) -> None:
        if self.on_bad_video == "raise":
            raise error
        _log.warning("%s", error)
        self.bad_videos[error.path] = error.reason

    def _encode(self, video: str, result: tuple, encoders: Sequence[FrameEncoder]) -> None:
        info, frame_ids, frames = result
        candidates = Candidates(
            video, torch.from_numpy(frame_ids), torch.from_numpy(info.timestamps_s[frame_ids]), info.duration_s
        )
        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
        for encoder in encoders:
            self.store.save(video, encoder.key, Entry(candidates, encoder.encode_frames(pixels).cpu().half()))

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

    # ---- Lightning ----

    def setup(self, stage: str) -> None:
        for split in self.splits(stage):
            if split in self._items:
                continue
            self.extract([self.encoder], [split])
            questions = [q for q in self.questions(split) if q.video not in self.bad_videos]
            if not questions:
                raise ValueError(
                    f"no question of split {split!r} is left: {len(self.bad_videos)} videos cannot be read"
                )
            texts = [self.encoder.encode_texts([q.question for q in part]) for part in _parts(questions, 256)]
            queries, needles = torch.cat(texts).cpu()[:, None], self.needles if split == "train" else None
            self._items[split] = _Items(questions, self.store, self.encoder.key, queries, needles)

    @property
    def _rank(self) -> tuple[int, int]:
        """This process's rank, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_dataloader(self) -> DataLoader:
        items, (rank, num_ranks) = self._items["train"], self._rank
        order = BatchOrder(len(items), self.batch_size, self.seed, self._batches_used, rank, num_ranks)
        return DataLoader(items, batch_sampler=order, collate_fn=collate)

    def _eval_dataloader(self, split: str) -> DataLoader:
        items, (rank, num_ranks) = self._items[split], self._rank
        mine = range(rank, len(items), num_ranks)  # each question on one rank, none twice
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

    def state_dict(self) -> dict[str, Any]:
        return {"batches_used": self._batches_used}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._batches_used = state_dict["batches_used"]

    def teardown(self, stage: str) -> None:
        self._worker.stop()


def _parts(questions: list[VideoQuestion], size: int) -> Iterator[list[VideoQuestion]]:
    for start in range(0, len(questions), size):
        yield questions[start : start + size]
