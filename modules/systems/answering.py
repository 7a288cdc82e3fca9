"""Shows selections to an MLLM: the union of a question's chosen frames is encoded once, every selection is a row.

Shared by training (`modules.rl.evolution`) and evaluation (`modules.evaluation.evaluation_module`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from modules.mllms.base import MLLM, FrameTokens, Generation, Row
from modules.mllms.canary import check_that_frames_matter
from modules.mllms.completions import Completions
from modules.records import QuestionBatch, Rollouts, Selection
from modules.seeds import seed_of
from modules.systems.answering_settings import AnsweringSettings
from modules.systems.frame_source import FrameSource
from modules.systems.stopwatch import Stopwatch


class Answering:
    """Shows frames to an MLLM and takes its answers, and knows what each part of that takes.

    Args:
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
        self.stopwatch = Stopwatch()
        self._mllm_key = mllm.key
        self._canary_due = canary

    @classmethod
    def of(cls, mllm: MLLM, settings: AnsweringSettings) -> Answering:
        """As a recipe says it."""
        own = {field.name: getattr(settings, field.name) for field in dataclasses.fields(AnsweringSettings)}
        return cls(mllm, **own)

    def frames(
        self, source: FrameSource, batch: QuestionBatch, candidate_index: Tensor
    ) -> tuple[list[FrameTokens], Tensor, list[int]]:
        """The union of each question's chosen frames, encoded once, and the selections as positions in it.

        Files of several questions are decoded side by side, while frames of those before them are encoded.

        Args:
            source: of frames.
            batch: B questions.
            candidate_index: int64 (B, G, K) in order of time.

        Returns:
            B frame sets; int64 (B, G, K) into them, -1 at padding; and the questions whose frames cannot be decoded,
            which are shown none.
        """
        chosen = candidate_index.cpu()
        unions = [picks[picks >= 0].unique() for picks in chosen]
        stored = [self._stored(source, batch, b, union) for b, union in enumerate(unions)]
        asked = list(zip(batch.candidates, unions, stored, strict=True))
        decoded = source.decode_many([(c, union) for c, union, tokens in asked if tokens is None and len(union)])
        sets, index, undecoded = [], torch.full_like(chosen, -1), []
        for b, (candidates, union, tokens) in enumerate(asked):
            if self._canary_due and len(union):
                self._canary(source, batch, b, union)
            if tokens is not None:
                tokens = tokens.to(batch.features.device, torch.float32)
            elif len(union):
                tokens = self._decoded(decoded)
                undecoded += [b] * (tokens is None)
            if tokens is None:  # asked blind
                sets.append(FrameTokens(torch.empty(0), torch.empty(0)))
                continue
            sets.append(FrameTokens(tokens, candidates.timestamps_s[union].float()))
            real = chosen[b] >= 0
            index[b][real] = torch.searchsorted(union, chosen[b][real])
        return sets, index.to(candidate_index.device), undecoded

    @property
    def decodes(self) -> bool:
        """Whether frames are decoded to be shown."""
        return not (self.store_frame_tokens or self.mllm.reads_features)

    def _stored(self, source: FrameSource, batch: QuestionBatch, b: int, union: Tensor) -> Tensor | None:
        """Tokens of candidates (N, ...) where they are in the batch or in the feature store."""
        if not len(union):
            return None
        if self.mllm.reads_features:
            return batch.features[b, union.to(batch.features.device)]
        return source.stored_frames(batch.candidates[b], union, self._mllm_key) if self.store_frame_tokens else None

    def _decoded(self, frames: Iterator[Tensor | None]) -> Tensor | None:
        """Tokens of the next question's frames."""
        with self.stopwatch.timed("decode"):
            pixels = next(frames)
        with self.stopwatch.timed("encode"):
            return None if pixels is None else self.mllm.encode_frames(pixels)

    def _canary(self, source: FrameSource, batch: QuestionBatch, b: int, chosen: Tensor) -> None:
        """Once: do the answers depend on the frames?"""
        candidates = batch.candidates[b]
        if self.mllm.reads_features:
            tokens = batch.features[b, chosen.to(batch.features.device)]
            shown, negative = tokens, -tokens
        else:
            frames = source.decode(candidates, chosen)
            if frames is None:
                return
            shown, negative = self.mllm.encode_frames(frames), self.mllm.encode_frames(255 - frames)
        times_s = candidates.timestamps_s[chosen].float()
        with self.mllm.counted():  # apart: it is no part of an answer's cost
            check_that_frames_matter(self.mllm, batch.questions[b], shown, negative, times_s)
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
    ) -> tuple[Rollouts, Completions]:
        """As `answer`, with an answer drawn for every selection, and its tokens.

        A draw is a function of (``seed``, sample_id, number of the rollout), whatever else is in the batch.
        """
        rollouts, completions = self._ask(source, batch, selection, options, (temperature, seed))
        assert completions is not None
        return rollouts, completions

    def _ask(
        self,
        source: FrameSource,
        batch: QuestionBatch,
        selection: Selection,
        options: bool,
        text: tuple[float, str] | None,
    ) -> tuple[Rollouts, Completions | None]:
        completions = None
        sets, index, undecoded = self.frames(source, batch, selection.in_time_order())
        rollouts = Rollouts(batch, selection, undecoded=tuple(undecoded))
        with self.stopwatch.timed("answer"):
            if options and any(q.options for q in batch.questions):
                self._count_calls(batch, index)
                rollouts.option_log_probs = self.mllm.score_options(batch.questions, sets, index, self.rows_per_forward)
            if text is not None:
                completions = self._generate(batch, sets, index, *text)
                flat, size = completions.generation.texts, index.shape[1]
                rollouts.texts = [flat[b * size : (b + 1) * size] for b in range(len(batch))]
        _withhold(rollouts)
        return rollouts, completions

    def _generate(
        self, batch: QuestionBatch, sets: list[FrameTokens], index: Tensor, temperature: float, seed: str
    ) -> Completions:
        """B x G answers."""
        rows, seeds = [], []
        for question, frames, group in zip(batch.questions, sets, index.cpu(), strict=True):  # rows lie on the host
            rows += [Row(question, frames, picks[picks >= 0]) for picks in group]
            seeds += [seed_of(f"{seed}/{question.sample_id}/{g}") for g in range(len(group))]
        return self.generate(rows, seeds, temperature, self.max_new_tokens)

    def _count_calls(self, batch: QuestionBatch, index: Tensor) -> None:
        if self.mllm.usage is not None:
            for question, picks in zip(batch.questions, (index >= 0).sum((1, 2)).tolist(), strict=True):
                self.mllm.usage.call(question.sample_id, picks)

    def generate(self, rows: list[Row], seeds: list[int], temperature: float, max_new_tokens: int) -> Completions:
        """Texts of any number of rows, in forwards of ``rows_per_forward``."""
        whole = Generation([], [], [])
        if self.mllm.usage is not None:
            for row in rows:
                self.mllm.usage.call(row.question.sample_id, len(row.index))
        for start in range(0, len(rows), self.rows_per_forward):
            chunk = slice(start, start + self.rows_per_forward)
            part = self.mllm.generate(rows[chunk], max_new_tokens, temperature, seeds[chunk])
            whole.texts.extend(part.texts)
            whole.token_ids.extend(part.token_ids)
            whole.log_probs.extend(part.log_probs)
        return Completions(rows, whole)


def _withhold(rollouts: Rollouts) -> None:
    """What was said without having seen the frames is no answer."""
    for b in rollouts.undecoded:
        if rollouts.option_log_probs is not None:
            rollouts.option_log_probs[b] = -torch.inf
        if rollouts.texts is not None:
            rollouts.texts[b] = [""] * len(rollouts.texts[b])
