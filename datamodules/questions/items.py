"""Questions with the features of their videos, and batches of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from datamodules.questions.needles import NeedleBuilder
from datamodules.video.feature_store import Entry, FeatureStore
from modules.records import QuestionBatch, VideoQuestion


@dataclasses.dataclass(frozen=True)
class StoredFeatures:
    """The stored features of a question's video."""

    store: FeatureStore
    key: str

    def __call__(self, question: VideoQuestion) -> Entry:
        return self.store.load(question.video, self.key)


class Items(Dataset):
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
        if question.from_s:
            end_s = entry.candidates.duration_s if question.until_s is None else question.until_s
            stretch = entry.candidates.stretch(question.from_s, end_s)
            entry = Entry(entry.candidates.part(stretch), entry.features[stretch])
        elif question.until_s is not None:
            seen = entry.candidates.until(question.until_s)
            entry = Entry(seen, entry.features[: len(seen)])
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
