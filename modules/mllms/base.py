"""The contract of the model that answers: frames and question in, option log-probabilities or text out.

A rollout shows the model K of a question's candidate frames. Rollouts of one question overlap, so frames are encoded
once (`MLLM.encode_frames`), kept as *frame tokens*, and every rollout is a row of indices into them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modules.encoders.base import FrameEncoder
from modules.mllms.prompt import Prompt
from modules.mllms.usage import Usage
from modules.records import VideoQuestion


@dataclass(frozen=True)
class FrameTokens:
    """Frames of one question as the model reads them, in order of time."""

    tokens: Tensor
    """(N, ...) whatever `MLLM.encode_frames` returned for N frames."""
    timestamps_s: Tensor
    """(N,) seconds, on the host: they become text."""


@dataclass(frozen=True)
class Generation:
    """Answers in text. R rows."""

    texts: list[str]
    token_ids: list[Tensor]
    """R tensors int64 (L_r,) on the host, ending with the end-of-turn token where the model stopped; empty where they
    are not told."""
    log_probs: list[Tensor]
    """R tensors float32 (L_r,), log-probability (nats) of each token when it was drawn."""


@dataclass(frozen=True)
class Row:
    """One question with the frames it is asked on: ``frames.tokens[index]``."""

    question: VideoQuestion
    frames: FrameTokens
    index: Tensor
    """int64 (K,), positions among the N frames, in order of time; on the host, where texts and grids are made."""
    prompt: Prompt | None = None
    """How the question is put, where not in the model's usual way."""

    @property
    def timestamps_s(self) -> Tensor:
        """float (K,), of the frames that are shown."""
        return self.frames.timestamps_s[self.index.to(self.frames.timestamps_s.device)]

    @property
    def tokens(self) -> Tensor:
        """(K, ...), of the frames that are shown."""
        return self.frames.tokens[self.index.to(self.frames.tokens.device)]


class MLLM(FrameEncoder):
    """A multimodal language model that answers questions on chosen frames.

    Frames come uint8 (N, 3, H, W) with their true timestamps and are never resampled.
    """

    prompt: Prompt
    """How a question is put, where its row does not say."""
    usage: Usage | None = None
    """Where tokens are counted while somebody wants to know; not counted otherwise."""

    @contextmanager
    def counted(self) -> Iterator[Usage]:
        """Counts the tokens of everything inside the context."""
        before, self.usage = self.usage, Usage()
        try:
            yield self.usage
        finally:
            self.usage = before

    def prompt_of(self, row: Row) -> Prompt:
        """How this row's question is put."""
        return row.prompt or self.prompt

    @property
    def injects(self) -> bool:
        """Whether `encode_frames` gives tokens that are the same whatever other frames are shown, so that they can be
        encoded once, stored, and shared by rollouts. Else it gives the frames back and each row is encoded anew."""
        return True

    @property
    def reads_features(self) -> bool:
        """Whether it reads what the data module's encoder made of the candidates, and no frames."""
        return False

    @property
    def answers_elsewhere(self) -> bool:
        """Whether another machine or process answers, so that a question is asked while the next one's frames are
        decoded, and calls may come from several threads."""
        return False

    @property
    def has_log_probs(self) -> bool:
        """Whether `score_rows` gives probabilities; else the option that was answered gets 1."""
        return True

    @property
    def unsaid_ids(self) -> list[int]:
        """Token ids that no answer has, increasing: what is drawn is drawn among the others, and log-probabilities are
        of the others alone."""
        return []

    @property
    def entrances(self) -> list[torch.nn.Module]:
        """Modules whose forwards are called from outside of the model; none where it computes elsewhere."""
        return []

    def describe(self) -> dict[str, Any]:
        """What an evaluation card has to name: class, weights, prompt, pixels, versions."""
        return {"mllm": type(self).__name__, "mllm_key": self.key}

    def shortfalls(self) -> dict[str, int]:
        """How often something went otherwise than it should, so far, for the end of a run: words after the number."""
        return {}

    def decoding(self, temperature: float) -> str:
        """How `generate` takes tokens at a temperature, for cards and files."""
        drawn = "most probable tokens" if temperature == 0 else f"drawn at temperature {temperature:g}"
        return f"{drawn}; no penalties or cut-offs of the checkpoint"

    def encode_previews(self, frames: Tensor, num_tokens: int) -> Tensor:
        """Frames at few tokens each, for a first glance at a video.

        Args:
            frames: uint8 (N, 3, H, W).
            num_tokens: at most so many tokens a frame.

        Returns:
            As `encode_frames`.
        """
        raise ValueError(f"{type(self).__name__} has no previews, so it cannot write queries")

    @abstractmethod
    def score_rows(self, rows: list[Row]) -> Tensor:
        """One batched forward: float32 (R, O) log-probabilities, normalised over each row's options.

        Absent options (rows with fewer than O) get -inf; a row without an answer is -inf throughout.
        """

    @abstractmethod
    def generate(
        self, rows: list[Row], max_new_tokens: int, temperature: float = 0.0, seeds: list[int] | None = None
    ) -> Generation:
        """Answers in text: the most probable tokens, or drawn at a temperature above 0 from the whole distribution.

        The reported log-probabilities are those of the distribution drawn from: whatever penalties, cut-offs or forced
        tokens a checkpoint's own settings ask for are left out.

        Args:
            rows: R questions with frames.
            max_new_tokens: of an answer.
            temperature: 0 takes the most probable token.
            seeds: one a row, so that a row's draw does not depend on those beside it.
        """

    @abstractmethod
    def log_probs(self, rows: list[Row], token_ids: list[Tensor], temperature: float = 1.0) -> Tensor:
        """Log-probabilities (nats) float32 (R, L) of given answers, differentiable; 0 at padding."""

    def language_parameters(self) -> list[torch.nn.Parameter]:
        """What joint training trains: LoRA layers where there are some, else everything but the vision tower."""
        raise ValueError(f"{type(self).__name__} cannot be trained: evolve has to be 'sampler'")

    def checkpoint_gradients(self) -> None:
        """Computes activations again in the backward pass, for memory."""
        raise ValueError(f"{type(self).__name__} cannot be trained: evolve has to be 'sampler'")

    @torch.no_grad()
    def score_options(
        self, questions: list[VideoQuestion], frames: list[FrameTokens], index: Tensor, rows_per_forward: int = 256
    ) -> Tensor:
        """Scores every option of every rollout. Rollouts that show the same frames are scored once.

        Args:
            questions: B questions.
            frames: B sets of frames.
            index: int64 (B, G, K) into ``frames[b]``, in order of time, -1 at padding.
            rows_per_forward: rows in one forward.

        Returns:
            float32 (B, G, O) log-probabilities, normalised over the options.
        """
        rows: list[Row] = []
        source: list[Tensor] = []
        for question, shown, picks in zip(questions, frames, index.cpu(), strict=True):  # rows are made on the host
            unique, inverse = torch.unique(picks, dim=0, return_inverse=True)
            source.append(inverse + len(rows))
            rows += [Row(question, shown, pick[pick >= 0]) for pick in unique]
        order = sorted(range(len(rows)), key=lambda r: (len(rows[r].index), len(rows[r].question.question)))
        num_options = max(len(q.options) for q in questions)
        parts = []
        for start in range(0, len(rows), rows_per_forward):
            part = self.score_rows([rows[r] for r in order[start : start + rows_per_forward]])
            missing = num_options - part.shape[1]
            parts.append(torch.nn.functional.pad(part.to(index.device, torch.float32), (0, missing), value=-torch.inf))
        position = torch.tensor(order).argsort()[torch.stack(source)]
        return torch.cat(parts)[position.to(index.device)]
