"""Shows selections to an MLLM: the union of a question's chosen frames is encoded once, every selection is a row.

Shared by training (`modules.rl.evolution`) and evaluation (`modules.evaluation.evaluation_module`).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from modules.mllms.base import MLLM, FrameTokens, Generation, Row
from modules.mllms.canary import check_that_frames_matter
from modules.mllms.completions import Completions
from modules.mllms.engine import LocalEngine, RolloutEngine
from modules.mllms.served.unanswered import UnansweredError
from modules.records import QuestionBatch, Rollouts, Selection
from modules.seeds import seed_of
from modules.systems.answering_settings import AnsweringSettings
from modules.systems.frame_source import FrameSource
from modules.systems.stopwatch import Stopwatch

_log = logging.getLogger(__name__)
_QUESTIONS_AT_A_TIME = 32
_MOST_LEFT_OUT = 16
"""Questions in a row; a server that answers none of so many is asked no more."""


@dataclass(frozen=True)
class Shown:
    """What a question's rollouts show."""

    frames: FrameTokens
    index: Tensor
    """int64 (G, K) into ``frames``, on the host, -1 at padding."""
    undecoded: bool
    """There should have been frames, and they could not be decoded."""


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
        self._left_out_in_a_row = 0

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
        sets, index, undecoded = [], [], []
        for b, shown in enumerate(self.frames_of_each(source, batch, candidate_index)):
            sets.append(shown.frames)
            index.append(shown.index)
            undecoded += [b] * shown.undecoded
        return sets, torch.stack(index).to(candidate_index.device), undecoded

    def frames_of_each(self, source: FrameSource, batch: QuestionBatch, candidate_index: Tensor) -> Iterator[Shown]:
        """As `frames`, one question after another, each as soon as its frames are there."""
        chosen = candidate_index.cpu()
        unions = [picks[picks >= 0].unique() for picks in chosen]
        stored = [self._stored(source, batch, b, union) for b, union in enumerate(unions)]
        asked = list(zip(batch.candidates, unions, stored, strict=True))
        decoded = source.decode_many([(c, union) for c, union, tokens in asked if tokens is None and len(union)])
        for b, (candidates, union, tokens) in enumerate(asked):
            if self._canary_due and len(union):
                self._canary(source, batch, b, union)
            if tokens is not None:
                tokens = tokens.to(batch.features.device, torch.float32)
            elif len(union):
                tokens = self._decoded(decoded)
            index = torch.full_like(chosen[b], -1)
            if tokens is None:  # asked blind
                yield Shown(FrameTokens(torch.empty(0), torch.empty(0)), index, bool(len(union)))
                continue
            real = chosen[b] >= 0
            index[real] = torch.searchsorted(union, chosen[b][real])
            yield Shown(FrameTokens(tokens, candidates.timestamps_s[union].float()), index, False)

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
        leave_out: bool = False,
    ) -> Rollouts:
        """Shows every selection to the MLLM and takes its answers.

        Args:
            source: of frames.
            batch: B questions.
            selection: G selections of each.
            options: score the options, where there are any.
            text: generate an answer.
            leave_out: go on without a question that a served model gives no answer to.
        """
        if self.mllm.answers_elsewhere:
            return self._ask_ahead(source, batch, selection, options, text, leave_out)
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
        engine: RolloutEngine | None = None,
    ) -> tuple[Rollouts, Completions]:
        """As `answer`, with an answer drawn for every selection, and its tokens; by an engine, where there is one.

        A draw is a function of (``seed``, sample_id, number of the rollout), whatever else is in the batch.
        """
        rollouts, completions = self._ask(source, batch, selection, options, (temperature, seed), engine)
        assert completions is not None
        return rollouts, completions

    def _ask(
        self,
        source: FrameSource,
        batch: QuestionBatch,
        selection: Selection,
        options: bool,
        text: tuple[float, str] | None,
        engine: RolloutEngine | None = None,
    ) -> tuple[Rollouts, Completions | None]:
        completions = None
        sets, index, undecoded = self.frames(source, batch, selection.in_time_order())
        rollouts = Rollouts(batch, selection, undecoded=tuple(undecoded))
        with self.stopwatch.timed("answer"):
            if options and any(q.options for q in batch.questions):
                self._count_calls(batch, index)
                rollouts.option_log_probs = self.mllm.score_options(batch.questions, sets, index, self.rows_per_forward)
            if text is not None:
                completions = self._generate(batch, sets, index, *text, engine)
                flat, size = completions.generation.texts, index.shape[1]
                rollouts.texts = [flat[b * size : (b + 1) * size] for b in range(len(batch))]
        _withhold(rollouts)
        return rollouts, completions

    def _ask_ahead(
        self,
        source: FrameSource,
        batch: QuestionBatch,
        selection: Selection,
        options: bool,
        text: bool,
        leave_out: bool,
    ) -> Rollouts:
        """A question is asked as soon as its frames are there, while those of the next are decoded."""
        options = options and any(q.options for q in batch.questions)
        num_rollouts = selection.candidate_index.shape[1]
        num_options = max(len(q.options) for q in batch.questions)
        log_probs = torch.full((len(batch), num_rollouts, num_options), -torch.inf)
        texts = [[""] * num_rollouts for _ in range(len(batch))]

        inference = torch.is_inference_mode_enabled()

        @torch.no_grad()
        @torch.inference_mode(inference)  # a thread has modes of its own
        def ask(b: int, shown: Shown) -> None:
            if shown.undecoded:
                return
            question, index = batch.questions[b], shown.index[None]
            if options and question.options:
                self._count_calls(batch.only(b), index)
                scores = self.mllm.score_options([question], [shown.frames], index, self.rows_per_forward)
                log_probs[b, :, : scores.shape[2]] = scores[0].cpu()
            if text:
                texts[b] = self._generate(batch.only(b), [shown.frames], index, 0.0, "").generation.texts

        shown, asked = [], []
        with ThreadPoolExecutor(min(len(batch), _QUESTIONS_AT_A_TIME)) as questions:
            for b, one in enumerate(self.frames_of_each(source, batch, selection.in_time_order())):
                shown.append(one)
                asked.append(questions.submit(ask, b, one))
            with self.stopwatch.timed("answer"):  # what is still to be waited for
                failures = [one.exception() for one in asked]
        unanswered = self._left_out(batch, failures, leave_out)
        return Rollouts(
            batch,
            selection,
            log_probs.to(selection.candidate_index.device) if options else None,
            texts if text else None,
            undecoded=tuple(b for b, one in enumerate(shown) if one.undecoded),
            unanswered=tuple(unanswered),
        )

    def _left_out(self, batch: QuestionBatch, failures: list[BaseException | None], leave_out: bool) -> list[int]:
        """Questions without an answer, where these may be left out.

        Raises:
            ConnectionError: they may not; or too many in a row were.
        """
        unanswered = []
        for b, failure in enumerate(failures):
            self._left_out_in_a_row = 0 if failure is None else self._left_out_in_a_row + 1
            if failure is None:
                continue
            if not leave_out or not isinstance(failure, UnansweredError):
                raise failure
            if self._left_out_in_a_row > _MOST_LEFT_OUT:
                raise ConnectionError(f"{self._left_out_in_a_row} questions in a row got no answer") from failure
            _log.warning("question %s is left out: %s", batch.questions[b].sample_id, failure)
            unanswered.append(b)
        return unanswered

    def _generate(
        self,
        batch: QuestionBatch,
        sets: list[FrameTokens],
        index: Tensor,
        temperature: float,
        seed: str,
        engine: RolloutEngine | None = None,
    ) -> Completions:
        """B x G answers."""
        rows, seeds = [], []
        for question, frames, group in zip(batch.questions, sets, index.cpu(), strict=True):  # rows lie on the host
            rows += [Row(question, frames, picks[picks >= 0]) for picks in group]
            seeds += [seed_of(f"{seed}/{question.sample_id}/{g}") for g in range(len(group))]
        return self.generate(rows, seeds, temperature, self.max_new_tokens, engine)

    def _count_calls(self, batch: QuestionBatch, index: Tensor) -> None:
        if self.mllm.usage is not None:
            for question, picks in zip(batch.questions, (index >= 0).sum((1, 2)).tolist(), strict=True):
                self.mllm.usage.call(question.sample_id, picks)

    def generate(
        self,
        rows: list[Row],
        seeds: list[int],
        temperature: float,
        max_new_tokens: int,
        engine: RolloutEngine | None = None,
    ) -> Completions:
        """Texts of any number of rows, in forwards of ``rows_per_forward``; by the MLLM itself, or by an engine."""
        engine = engine or LocalEngine(self.mllm)
        whole = Generation([], [], [])
        if self.mllm.usage is not None:
            for row in rows:
                self.mllm.usage.call(row.question.sample_id, len(row.index))
        for start in range(0, len(rows), self.rows_per_forward):
            chunk = slice(start, start + self.rows_per_forward)
            part = engine.generate(rows[chunk], max_new_tokens, temperature, seeds[chunk])
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
