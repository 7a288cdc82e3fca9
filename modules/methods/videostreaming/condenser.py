"""VideoStreaming's clip condenser (Qian et al., arXiv 2405.16009, sections 3.1 and 3.2).

A video is read in clips of F frames. For clip k the sequence

    time prompt . H_{k-1} . F_k . S_k . g_k                                                        (paper, eq. 1)

goes through the lower layers of a causal language model: H_{k-1} is the memory of the clip before (none for the first),
F_k the clip's frame tokens (F N), S_k summary tokens (F P, each frame's tokens averaged over a grid of P cells) and g_k
their average over the clip. The states at S_k are the new memory H_k, the state at g_k is the clip's *indicator*, by
which it is found again. What is kept between clips has one size whatever the video's length.

Silent in the paper, and so here: where the gradient of H_{k-1} ends (``detach_history``), and what a last clip of fewer
frames becomes (its last frame is held).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from modules.methods.videostreaming.language_layers import LanguageLayers


@dataclass(frozen=True)
class Memory:
    """What is kept of one clip of each of B videos."""

    tokens: Tensor
    """(B, F * P, W), H_k."""
    indicator: Tensor
    """(B, W)."""


@dataclass(frozen=True)
class Stream:
    """How far B videos have been read; all that the next clip needs."""

    memory: Memory | None = None
    """Of the clip before; None before the first."""
    num_clips: int = 0

    @property
    def begun(self) -> Memory:
        """The newest memory.

        Raises:
            ValueError: no clip has ended.
        """
        if self.memory is None:
            raise ValueError("nothing has been seen yet: questions can be asked once the first clip is condensed")
        return self.memory


@dataclass(frozen=True)
class ClipSequence:
    """The input of one step and where its parts are."""

    embeddings: Tensor
    """(B, L, W)."""
    real: Tensor
    """bool (B, L)."""
    num_before: int
    """Positions before the summaries."""


class ClipCondenser(nn.Module):
    """Reads a video clip by clip into memories of one size.

    Args:
        layers: lower layers of a language model.
        token_dim: C, width of a frame token.
        clip_frames: F (paper: 16).
        summaries_per_frame: P, a square (paper: 4).
        time_prompt: text before each clip, with ``{start}``, ``{end}`` and ``{history}`` in whole seconds; None leaves
            it out. The paper's wording is not known.
        propagate: whether H_{k-1} is read; without it clips are condensed one by one (the paper's ablation).
        detach_history: whether the gradient ends at H_{k-1}; a number N, that it ends at every N-th of them, so that it
            runs through N clips at most (truncated back-propagation), and the graph of no more is kept.
    """

    def __init__(
        self,
        *,
        layers: LanguageLayers,
        token_dim: PositiveInt,
        clip_frames: PositiveInt = 16,
        summaries_per_frame: PositiveInt = 4,
        time_prompt: str | None = "History of 0 to {history} s. Clip of {start} to {end} s.",
        propagate: bool = True,
        detach_history: bool | PositiveInt = False,
    ) -> None:
        super().__init__()
        if math.isqrt(summaries_per_frame) ** 2 != summaries_per_frame:
            raise ValueError(f"summaries_per_frame={summaries_per_frame}: a square, they are averages over a grid")
        self.layers, self.clip_frames, self.summaries_per_frame = layers, clip_frames, summaries_per_frame
        self.time_prompt, self.propagate, self.detach_history = time_prompt, propagate, detach_history
        width = layers.width
        self.input = nn.Sequential(nn.Linear(token_dim, width), nn.GELU(), nn.Linear(width, width))

    @property
    def num_summaries(self) -> int:
        """F P, the tokens of a memory."""
        return self.clip_frames * self.summaries_per_frame

    def sequence(
        self, frames: Tensor, start_s: Sequence[float], end_s: Sequence[float], stream: Stream
    ) -> ClipSequence:
        """What the language layers read of one clip of each of B videos.

        Args:
            frames: (B, n, N, C) tokens of n frames, 1 <= n <= F; N is a square.
            start_s, end_s: B each, when the clips begin and end, in seconds.
            stream: what came before.
        """
        frames = self._whole(frames)
        parts = [self.input(frames).flatten(1, 2), self._summaries(frames), self.input(frames.mean((1, 2)))[:, None]]
        if self.propagate and stream.memory is not None:
            history, every = stream.memory.tokens, int(self.detach_history)
            parts.insert(0, history.detach() if every and stream.num_clips % every == 0 else history)
        real = [torch.ones(part.shape[:2], dtype=torch.bool, device=part.device) for part in parts]
        if self.time_prompt is not None:
            texts = [
                self.time_prompt.format(history=round(s), start=round(s), end=round(e))
                for s, e in zip(start_s, end_s, strict=True)
            ]
            prompt, prompt_real = self.layers.embed(texts)
            parts.insert(0, prompt)
            real.insert(0, prompt_real)
        num_before = sum(part.shape[1] for part in parts) - self.num_summaries - 1
        return ClipSequence(torch.cat(parts, 1), torch.cat(real, 1), num_before)

    def step(
        self, frames: Tensor, start_s: Sequence[float], end_s: Sequence[float], stream: Stream
    ) -> tuple[Memory, Stream]:
        """Condenses the next clip of each of B videos.

        Args:
            frames: (B, n, N, C), 1 <= n <= F.
            start_s, end_s: B each, seconds.
            stream: what came before.
        """
        sequence = self.sequence(frames, start_s, end_s, stream)
        states = self.layers(sequence.embeddings, sequence.real)
        memory = Memory(states[:, -1 - self.num_summaries : -1], states[:, -1])
        return memory, Stream(memory, stream.num_clips + 1)

    def read(self, clips: Tensor, start_s: Tensor, end_s: Tensor) -> Tensor:
        """Condenses N clips one after another, with graph.

        Args:
            clips: (B, N, n, N', C) frame tokens.
            start_s, end_s: (B, N) seconds.

        Returns:
            (B, N, 1 + F P, W), each clip's indicator and then its memory.
        """
        stream, kept = Stream(), []
        for k in range(clips.shape[1]):
            memory, stream = self.step(clips[:, k], start_s[:, k].tolist(), end_s[:, k].tolist(), stream)
            kept.append(torch.cat([memory.indicator[:, None], memory.tokens], 1))
        return torch.stack(kept, 1)

    def question_indicator(self, questions: Sequence[str], stream: Stream) -> Tensor:
        """(B, W), the last state of *newest memory . question* (paper, section 3.2).

        Raises:
            ValueError: no clip has ended.
        """
        memory = stream.begun.tokens
        text, text_real = self.layers.embed(list(questions))
        seen = torch.ones(memory.shape[:2], dtype=torch.bool, device=memory.device)
        # padding stands on the left, between memory and question, and is seen by nothing
        states = self.layers(torch.cat([memory.to(text.dtype), text], 1), torch.cat([seen, text_real], 1))
        return states[:, -1]

    def _whole(self, frames: Tensor) -> Tensor:
        """(B, F, N, C): the last frame of a short clip is held to its end.

        Raises:
            ValueError: no frame, too many, or tokens in no square grid.
        """
        num_frames, num_tokens = frames.shape[1:3]
        if not 1 <= num_frames <= self.clip_frames:
            raise ValueError(f"a clip of {num_frames} frames, where 1 to {self.clip_frames} are read at once")
        if math.isqrt(num_tokens) ** 2 != num_tokens:
            raise ValueError(f"{num_tokens} tokens a frame lie in no square grid, over which summaries are averaged")
        held = frames[:, -1:].expand(-1, self.clip_frames - num_frames, -1, -1)
        return torch.cat([frames, held], 1).to(next(self.input.parameters()).dtype)

    def _summaries(self, frames: Tensor) -> Tensor:
        """(B, F P, W) from (B, F, N, C)."""
        side, cells = math.isqrt(frames.shape[2]), math.isqrt(self.summaries_per_frame)
        grid = frames.flatten(0, 1).transpose(1, 2).unflatten(-1, (side, side))
        pooled = nn.functional.adaptive_avg_pool2d(grid, cells).flatten(2).transpose(1, 2)
        return self.input(pooled).unflatten(0, frames.shape[:2]).flatten(1, 2)
