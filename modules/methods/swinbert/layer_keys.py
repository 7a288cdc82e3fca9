"""Keys and values of every layer that later tokens attend to: transformers' BERT layers ask for them by `update`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


class KeptKeys:
    """Lets tokens attend to one another, and keeps their keys and values: what the video tokens leave behind."""

    def __init__(self) -> None:
        self.layers: list[tuple[Tensor, Tensor]] = []

    def update(self, keys: Tensor, values: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        """As `transformers.Cache.update`; (B, heads, M, d) each."""
        self.layers.append((keys, values))
        return keys, values


@dataclass(frozen=True)
class VideoKeys:
    """What text attends to of B videos."""

    layers: list[tuple[Tensor, Tensor]]
    """For each layer keys and values, (B, heads, M, d)."""

    @property
    def num_tokens(self) -> int:
        """M."""
        return self.layers[0][0].shape[2]

    @property
    def num_videos(self) -> int:
        """B."""
        return self.layers[0][0].shape[0]

    def repeated(self, times: int) -> VideoKeys:
        """Each video ``times`` times in a row."""
        return VideoKeys([(k.repeat_interleave(times, 0), v.repeat_interleave(times, 0)) for k, v in self.layers])

    def update(self, keys: Tensor, values: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        """The video's, and behind them those of the text that is read now."""
        before, values_before = self.layers[layer_idx]
        return torch.cat([before, keys], 2), torch.cat([values_before, values], 2)


class GrowingKeys:
    """The video's keys and values with those of the words so far, in one buffer a layer that nothing is copied out of.

    The newest word and the mask token behind it are read together; the word stays, and the next one takes the place of
    the mask token.

    Args:
        video: of R rows.
        max_words: that will be kept.
    """

    def __init__(self, video: VideoKeys, max_words: int) -> None:
        self.num_video_tokens, self.num_words = video.num_tokens, 0
        self._buffers = [
            tuple(torch.cat([part, part.new_empty(*part.shape[:2], max_words + 1, part.shape[3])], 2) for part in layer)
            for layer in video.layers
        ]

    def update(self, keys: Tensor, values: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        """As `transformers.Cache.update`; the buffers up to the tokens that are read now."""
        start = self.num_video_tokens + self.num_words
        end = start + keys.shape[2]
        for buffer, part in zip(self._buffers[layer_idx], (keys, values), strict=True):
            buffer[:, :, start:end] = part
        whole_keys, whole_values = self._buffers[layer_idx]
        return whole_keys[:, :, :end], whole_values[:, :, :end]

    def keep_word(self) -> None:
        """The first of the tokens that were read last stays."""
        self.num_words += 1

    def reorder(self, rows: Tensor) -> None:
        """Row r goes on from the words of row ``rows[r]`` (int64 (R,)), which is one of the same video."""
        start, end = self.num_video_tokens, self.num_video_tokens + self.num_words
        for layer in self._buffers:
            for buffer in layer:
                buffer[:, :, start:end] = buffer[rows, :, start:end]
