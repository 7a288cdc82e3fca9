"""Where frames and text features come from, whoever asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor

from modules.records import Candidates


class FrameSource(Protocol):
    """What is asked of a data module beyond batches.

    Frames that cannot be decoded are None, where a run is to go on without them; the data module has named them then.
    """

    def frames_key(self, candidates: Candidates) -> str:
        """A file name for what `decode` gives of these candidates: the content of their files, and the frames' size."""
        ...

    def stored_frames(self, candidates: Candidates, candidate_index: Tensor, encoder_key: str) -> Tensor | None: ...
    def decode(self, candidates: Candidates, candidate_index: Tensor) -> Tensor | None: ...
    def decode_many(self, asked: Sequence[tuple[Candidates, Tensor]]) -> Iterator[Tensor | None]: ...
    def embed_texts(self, texts: list[str]) -> Tensor: ...
    def count_batch(self) -> None: ...
