"""A SwinBERT in a table of an evaluation, and the caption that it has to beat: the one that is said most often."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from modules.methods.swinbert.clip_reading import read_clips
from modules.methods.swinbert.swinbert_network import SwinBERT
from modules.records import Cost, QuestionBatch, VideoQuestion
from modules.selection.even_spacing import evenly_spaced
from modules.selection.selection_row import SelectionRow
from modules.systems.base import Reply, VideoSystem, answer_to
from modules.systems.frame_source import FrameSource


@dataclass(frozen=True, kw_only=True)
class CaptionDecoding:
    """How captions are written.

    Args:
        max_words: longest caption, with the end token (paper: 20).
        num_beams: side by side; 1 takes the most probable word again and again (paper).
        length_penalty: power of its length that a caption's log-probability is divided by; beams alone.
    """

    max_words: int = 20
    num_beams: int = 1
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        if min(self.max_words, self.num_beams) < 1:
            raise ValueError(f"max_words={self.max_words}, num_beams={self.num_beams}: at least 1")


class SwinBERTSystem(VideoSystem):
    """Describes the whole of a clip; what is asked is not read.

    Args:
        network: that writes; no part of this system, whose owner moves and saves it.
        num_frames: T.
        decoding: how captions are written.
    """

    def __init__(self, network: SwinBERT, num_frames: int, decoding: CaptionDecoding) -> None:
        super().__init__()
        object.__setattr__(self, "network", network)
        self.num_frames, self.decoding = num_frames, decoding

    network: SwinBERT

    @property
    def frames_per_question(self) -> int:
        return self.num_frames

    def describe(self) -> str:
        beams = "" if self.decoding.num_beams == 1 else f", {self.decoding.num_beams} beams"
        return f"SwinBERT, {self.num_frames} frames, {self.network.mask.kind} mask{beams}"

    @torch.no_grad()
    def answer(self, batch: QuestionBatch, source: FrameSource) -> list[Reply]:
        started = time.perf_counter()
        clips = read_clips(batch, source, self.num_frames, self.network.size_px)
        texts: dict[int, str] = {}
        counts: dict[int, int] = {}
        if clips is not None:
            self.network.eval()
            settings = self.decoding
            written = self.network.write(
                self.network.read(clips.frames),
                max_words=settings.max_words,
                num_beams=settings.num_beams,
                length_penalty=settings.length_penalty,
            )
            texts = {b: self.network.text_of(ids) for b, ids in zip(clips.places, written, strict=True)}
            counts = {b: len(ids) for b, ids in zip(clips.places, written, strict=True)}
        seconds = {"answer": (time.perf_counter() - started) / len(batch)}
        return [self._reply(batch, b, texts.get(b), counts.get(b, 0), seconds) for b in range(len(batch))]

    def _reply(
        self, batch: QuestionBatch, b: int, text: str | None, num_words: int, seconds: dict[str, float]
    ) -> Reply:
        """``text`` is None where the clip could not be decoded."""
        question, candidates = batch.questions[b], batch.candidates[b]
        cost = Cost(seconds=seconds)
        if text is None:
            answer = answer_to(question, self.name, text=None, option_log_probs=None, timestamps_s=())
            return Reply(answer, None, cost)
        which = evenly_spaced(len(candidates), self.num_frames).unique()
        times = tuple(candidates.timestamps_s[which].tolist())
        row = SelectionRow(
            dataset=question.dataset,
            split=question.split,
            sample_id=question.sample_id,
            video=question.video,
            sampler=self.name,
            frame_ids=tuple(candidates.frame_ids[which].tolist()),
            timestamps_s=times,
            video_fps=candidates.video_fps,
            num_video_frames=candidates.num_video_frames,
            num_candidates=len(candidates),
            decoder=candidates.decoder,
        )
        cost = replace(
            cost,
            frames_decoded=len(which),
            frames_shown=self.num_frames,
            visual_tokens=self.network.grid(self.num_frames).num_tokens,
            text_tokens_out=num_words,
            calls=1,
        )
        return Reply(answer_to(question, self.name, text=text, option_log_probs=None, timestamps_s=times), row, cost)


class CommonCaption(VideoSystem):
    """Says of every clip what was said most often in training; looks at nothing.

    Args:
        questions: with the captions of training.
    """

    def __init__(self, questions: Sequence[VideoQuestion]) -> None:
        super().__init__()
        counts = Counter(caption for question in questions for caption in question.references)
        # of captions that were said as often the one of the most common words
        words = Counter(word for caption in counts for word in set(caption.split()))
        self.caption = max(counts, key=lambda c: (counts[c], sum(words[w] for w in c.split()) / len(c.split()), c))

    @property
    def frames_per_question(self) -> int:
        return 0

    def describe(self) -> str:
        return f"always {self.caption!r}"

    def answer(self, batch: QuestionBatch, source: FrameSource) -> list[Reply]:
        return [
            Reply(answer_to(q, self.name, text=self.caption, option_log_probs=None, timestamps_s=()), None, Cost())
            for q in batch.questions
        ]
