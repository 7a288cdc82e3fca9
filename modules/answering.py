"""Shows selections to an MLLM: the union of a question's chosen frames is encoded once, every selection is a row.

Shared by training (`modules.evolution`) and evaluation (`modules.evaluation`).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from modules.canary import check_that_frames_matter
from modules.encoders.base import FrameEncoder
from modules.joint import Spoken
from modules.mllms.base import MLLM, FrameTokens, Generation, Row
from modules.records import Candidates, QuestionBatch, Rollouts, Selection
from modules.seeds import seed_of


class FrameSource(Protocol):
    """What is asked of a data module beyond batches."""

    def splits(self, stage: str | None) -> list[str]: ...
    def extract(self, encoders: Sequence[FrameEncoder], splits: Sequence[str]) -> object: ...
    def stored_frames(self, candidates: Candidates, candidate_index: Tensor, encoder_key: str) -> Tensor | None: ...
    def decode(self, candidates: Candidates, candidate_index: Tensor) -> Tensor: ...
    def embed_texts(self, texts: list[str]) -> Tensor: ...
    def count_batch(self) -> None: ...


class Answering:
    """Args:
    mllm: what answers.
    store_frame_tokens: read tokens from the feature store where they are; else frames are decoded and encoded.
    rows_per_forward: rollouts in one forward.
    max_new_tokens: of generated answers.
    canary: check on the first question that the frames reach the model.
    """

    def __init__(
        self,
        mllm: MLLM,
        *,
        store_frame_tokens: bool = False,
        rows_per_forward: int = 256,
        max_new_tokens: int = 16,
        canary: bool = True,
    ) -> None:
        if store_frame_tokens and not mllm.injects:
            raise ValueError(
                f"store_frame_tokens: {type(mllm).__name__} as it is set up encodes a frame together with the others "
                "that are shown, so its tokens cannot be kept; leave the key out (Qwen-VL keeps them with "
                "frames_per_grid: 1)"
            )
        self.mllm, self.store_frame_tokens = mllm, store_frame_tokens
        self.rows_per_forward, self.max_new_tokens = rows_per_forward, max_new_tokens
        self.seconds: dict[str, float] = defaultdict(float)
        self._mllm_key = mllm.key
        self._canary_due = canary

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Adds up what a part of a step takes."""
        started = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - started

    def frames(
        self, source: FrameSource, batch: QuestionBatch, candidate_index: Tensor
    ) -> tuple[list[FrameTokens], Tensor]:
        """The union of each question's chosen frames, encoded once, and the selections as positions in it.

        Args:
            source: of frames.
            batch: B questions.
            candidate_index: int64 (B, G, K) in order of time.

        Returns:
            B frame sets, and int64 (B, G, K) into them, -1 at padding.
        """
        sets, index = [], torch.full_like(candidate_index, -1)
        for b, candidates in enumerate(batch.candidates):
            real = candidate_index[b] >= 0
            union = candidate_index[b][real].unique().cpu()
            if not len(union):  # asked blind
                sets.append(FrameTokens(torch.empty(0), torch.empty(0)))
                continue
            if self._canary_due:
                self._canary(source, batch, b, union)
            stored = None
            if self.store_frame_tokens:
                stored = source.stored_frames(candidates, union, self._mllm_key)
            if stored is None:
                with self.timed("decode"):
                    pixels = source.decode(candidates, union)
                with self.timed("encode"):
                    tokens = self.mllm.encode_frames(pixels)
            else:
                tokens = stored.to(batch.features.device, torch.float32)
            sets.append(FrameTokens(tokens, candidates.timestamps_s[union].float()))
            index[b][real] = torch.searchsorted(union, candidate_index[b][real].cpu()).to(index)
        return sets, index

    def _canary(self, source: FrameSource, batch: QuestionBatch, b: int, chosen: Tensor) -> None:
        """Once: do the answers depend on the frames?"""
        candidates = batch.candidates[b]
        times = candidates.timestamps_s[chosen].float()
        check_that_frames_matter(self.mllm, batch.questions[b], source.decode(candidates, chosen), times)
        self._canary_due = False

    @torch.no_grad()
    def answer(
        self,
        source: FrameSource,
        batch: QuestionBatch,
        selection: Selection,
        *,
        options: bool = True,
        text: bool = False,
    ) -> Rollouts:
        """Shows every selection to the MLLM and takes its answers.

        Args:
            source: of frames.
            batch: B questions.
            selection: G selections of each.
            options: score the options, where there are any.
            text: generate an answer.
        """
        return self._ask(source, batch, selection, options, (0.0, "") if text else None)[0]

    @torch.no_grad()
    def speak(
        self,
        source: FrameSource,
        batch: QuestionBatch,
        selection: Selection,
        temperature: float,
        seed: str,
        *,
        options: bool = True,
    ) -> tuple[Rollouts, Spoken]:
        """As `answer`, with an answer drawn for every selection, and its tokens.

        A draw is a function of (``seed``, sample_id, number of the rollout), whatever else is in the batch.
        """
        rollouts, spoken = self._ask(source, batch, selection, options, (temperature, seed))
        assert spoken is not None
        return rollouts, spoken

    def _ask(
        self,
        source: FrameSource,
        batch: QuestionBatch,
        selection: Selection,
        options: bool,
        text: tuple[float, str] | None,
    ) -> tuple[Rollouts, Spoken | None]:
        rollouts, spoken = Rollouts(batch, selection), None
        sets, index = self.frames(source, batch, selection.in_time_order())
        with self.timed("answer"):
            if options and any(q.options for q in batch.questions):
                rollouts.option_log_probs = self.mllm.score_options(batch.questions, sets, index, self.rows_per_forward)
            if text is not None:
                spoken = self._generate(batch, sets, index, *text)
                flat, size = spoken.generation.texts, index.shape[1]
                rollouts.texts = [flat[b * size : (b + 1) * size] for b in range(len(batch))]
        return rollouts, spoken

    def _generate(
        self, batch: QuestionBatch, sets: list[FrameTokens], index: Tensor, temperature: float, seed: str
    ) -> Spoken:
        """B x G answers."""
        rows, seeds = [], []
        for question, frames, group in zip(batch.questions, sets, index.cpu(), strict=True):  # rows lie on the host
            rows += [Row(question, frames, picks[picks >= 0]) for picks in group]
            seeds += [seed_of(f"{seed}/{question.sample_id}/{g}") for g in range(len(group))]
        return self.generate(rows, seeds, temperature, self.max_new_tokens)

    def generate(self, rows: list[Row], seeds: list[int], temperature: float, max_new_tokens: int) -> Spoken:
        """Texts of any number of rows, in forwards of ``rows_per_forward``."""
        whole = Generation([], [], [])
        for start in range(0, len(rows), self.rows_per_forward):
            chunk = slice(start, start + self.rows_per_forward)
            part = self.mllm.generate(rows[chunk], max_new_tokens, temperature, seeds[chunk])
            whole.texts.extend(part.texts)
            whole.token_ids.extend(part.token_ids)
            whole.log_probs.extend(part.log_probs)
        return Spoken(rows, whole)
