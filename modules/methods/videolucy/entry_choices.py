"""Coarse memories as candidates of the shared samplers: what a policy over them is given.

A candidate is a coarse span, a clip of the video's candidate frames (`Candidates.in_clips`). Its features are those of
its text, made by the text encoder, beside the mean of its frames', made by the image encoder; queries are the
question's, twice. So the cosine of a candidate and its question is a mixture of both similarities, and a sampler of the
width of the two together can weigh them. Both encoders are frozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from modules.methods.videolucy.inquiry import Inquiry
from modules.records import QuestionBatch
from modules.systems.frame_source import FrameSource

EntryFeatures = Literal["both", "texts", "frames"]
_MOST_TEXTS = 2**14


class EntryChoices:
    """Makes candidates of coarse memories.

    Args:
        features: what a sampler sees of one: its text, its frames, or both.
    """

    def __init__(self, features: EntryFeatures) -> None:
        self.features = features
        self._source: FrameSource | None = None
        self._embedded: dict[str, Tensor] = {}

    def batch(self, inquiries: Sequence[Inquiry], batch: QuestionBatch, source: FrameSource) -> QuestionBatch:
        """The coarse memories of B questions.

        Args:
            inquiries: of the questions, whose coarse memories are there.
            batch: the questions with their candidate frames.
            source: of text features.

        Returns:
            The same questions with N candidates: features float32 (B, N, D) or, with ``both``, (B, N, 2 D).

        Raises:
            ValueError: frames or texts have no features.
        """
        if batch.features.ndim != 3 or not batch.features.shape[-1] or not batch.queries.shape[1]:
            raise ValueError(
                f"a policy over memories compares them with the question, and here are features "
                f"{tuple(batch.features.shape)} and queries {tuple(batch.queries.shape)}: data.encoder has to be one "
                "of images and texts"
            )
        choices = [inquiry.candidates.in_clips(inquiry.coarse_frames) for inquiry in inquiries]
        parts = []
        if self.features != "frames":
            parts.append(
                nn.utils.rnn.pad_sequence(self._texts(inquiries, source, batch.queries.shape[-1]), batch_first=True)
            )
        if self.features != "texts":
            parts.append(nn.utils.rnn.pad_sequence(_means(inquiries, batch), batch_first=True))
        device, counts = batch.features.device, torch.tensor([len(c) for c in choices])
        times_s = nn.utils.rnn.pad_sequence([c.timestamps_s.float() for c in choices], batch_first=True)
        return QuestionBatch(
            batch.questions,
            choices,
            torch.cat([nn.functional.normalize(part.to(device), dim=-1) for part in parts], -1),
            (torch.arange(int(counts.max()))[None] < counts[:, None]).to(device),
            times_s.to(device),
            torch.cat([nn.functional.normalize(batch.queries, dim=-1)] * len(parts), -1),
        )

    def _texts(self, inquiries: Sequence[Inquiry], source: FrameSource, width: int) -> list[Tensor]:
        """float32 (N, D) of each question, on the host."""
        if source is not self._source or len(self._embedded) > _MOST_TEXTS:
            self._source, self._embedded = source, {}
        texts = [[entry.text for entry in inquiry.tree.at(0)] for inquiry in inquiries]
        new = [text for text in dict.fromkeys(t for own in texts for t in own) if text not in self._embedded]
        if new:
            self._embedded |= zip(new, source.embed_texts(new).float().cpu(), strict=True)
        found = []
        for own, inquiry in zip(texts, inquiries, strict=True):
            num_spans = -(-len(inquiry.candidates) // inquiry.coarse_frames)
            found.append(
                torch.stack([self._embedded[text] for text in own])
                if own
                else torch.zeros(num_spans, width)  # a video that could not be decoded has no texts
            )
        return found


def _means(inquiries: Sequence[Inquiry], batch: QuestionBatch) -> list[Tensor]:
    """float32 (N, D) of each question: means of the features of each span's frames."""
    found = []
    for inquiry, features in zip(inquiries, batch.features, strict=True):
        frames = nn.functional.normalize(features[: len(inquiry.candidates)].float(), dim=-1)
        found.append(torch.stack([part.mean(0) for part in frames.split(inquiry.coarse_frames)]))
    return found
