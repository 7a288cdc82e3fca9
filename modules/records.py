"""Every type that crosses a boundary, each field with its shape and unit.

Letters: ``B`` questions, ``T`` candidate frames, ``K`` selected frames, ``G`` rollouts per question, ``Q`` queries,
``D`` feature width, ``O`` answer options. A *candidate index* is a position among the T candidates, a *frame id* a
position in the file, and ``timestamp_s`` seconds from the start of the video.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from modules.parsing import LETTERS


@dataclass(frozen=True)
class VideoQuestion:
    """One question about one video, with options or open; the same record for every data set."""

    dataset: str
    split: str
    sample_id: str
    """Unique inside (dataset, split), e.g. ``"test-00012-q03"``."""
    video: str
    """Path of the video file."""
    duration_s: float
    """0 where the annotations do not say; the file does, once it is probed."""
    question: str
    """Without options and without any prompt around it."""
    options: tuple[str, ...] = ()
    """Option texts without letters, in the order they are shown; at most as many as there are letters."""
    answer_index: int | None = None
    """Index into ``options``; None where the answer is unknown (``ask``)."""
    evidence_s: tuple[tuple[float, float], ...] = ()
    """Spans (start, end) in seconds inside which the answer can be seen; empty where unknown."""
    groups: dict[str, str | tuple[str, ...]] = field(default_factory=dict)
    """Labels for aggregation, e.g. ``{"kind": "needle"}``; several where a question belongs to several groups."""
    subtitles: tuple[tuple[float, float, str], ...] = ()
    """(start, end) in seconds of the video, and what is said; in order."""
    pass_rate: float | None = None
    """How often the MLLM solves it on evenly spaced frames, 0..1; None where that was not measured."""
    references: tuple[str, ...] = ()
    """Texts that answer an open question, e.g. the captions of a clip; empty where it has options or nobody knows."""
    until_s: float | None = None
    """Seconds into the video at which it is asked: nothing behind that may be used. None: once the video is over."""
    wording: str | None = None
    """The whole text that the model reads in place of question and options, where somebody else's harness words it."""
    from_s: float = 0.0
    """Seconds into the video before which nothing may be used: with ``until_s``, the stretch that it is about."""

    def __post_init__(self) -> None:
        if len(self.options) > len(LETTERS):
            raise ValueError(
                f"question {self.sample_id}: {len(self.options)} options, but only {len(LETTERS)} have a letter "
                f"({LETTERS[0]} to {LETTERS[-1]})"
            )
        if self.answer_index is not None and not 0 <= self.answer_index < len(self.options):
            raise ValueError(
                f"question {self.sample_id}: answer_index {self.answer_index} is outside of {len(self.options)} options"
            )
        if self.from_s < 0 or (self.until_s is not None and self.from_s and self.until_s <= self.from_s):
            raise ValueError(
                f"question {self.sample_id}: a stretch from {self.from_s:g} s to {self.until_s} s has no length"
            )

    @property
    def answer(self) -> str | None:
        """Text of the right option, or the first reference of an open question."""
        if self.answer_index is not None:
            return self.options[self.answer_index]
        return self.references[0] if self.references else None


@dataclass(frozen=True)
class Candidates:
    """The T frames of one video that a sampler may choose from."""

    video: str
    frame_ids: Tensor
    """int64 (T,), positions in the file, strictly increasing."""
    timestamps_s: Tensor
    """float64 (T,), presentation times from the first frame, increasing."""
    duration_s: float
    num_video_frames: int = 0
    """Frames in the file; 0 where that is not known."""
    decoder: str = ""
    """Library that decoded them, where one has."""
    sources: tuple[str, ...] = ()
    """Files the frames come from, where they come from several (a needle among clips); else empty."""
    source_index: Tensor | None = None
    """int64 (T,), which of ``sources`` each frame is from; its ``frame_ids`` are positions in that file."""
    clip_frame_ids: Tensor | None = None
    """int64 (T, F), the frames of each candidate where a candidate is a clip, -1 behind those of a shorter one;
    ``frame_ids`` are their middle ones then. None where a candidate is a frame."""
    clip_times_s: Tensor | None = None
    """float64 (T, F), presentation times of those frames."""

    def __len__(self) -> int:
        return len(self.frame_ids)

    @property
    def video_fps(self) -> float:
        """Average rate of the file, from its frame count or else from the candidates; 0 where neither tells."""
        if self.num_video_frames and self.duration_s:
            return self.num_video_frames / self.duration_s
        seconds = float(self.timestamps_s[-1] - self.timestamps_s[0]) if len(self) else 0.0
        return float(self.frame_ids[-1] - self.frame_ids[0]) / seconds if seconds else 0.0

    @property
    def num_frames(self) -> int:
        """Frames that the candidates are made of."""
        return len(self) if self.clip_frame_ids is None else int((self.clip_frame_ids >= 0).sum())

    def frames_of(self, candidate_index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The frames of some candidates (N,), n in all.

        Returns:
            int64 (n,) frame ids; float64 (n,) their times; int64 (n,) positions within ``candidate_index``.
        """
        if self.clip_frame_ids is None or self.clip_times_s is None:
            places = torch.arange(len(candidate_index))
            return self.frame_ids[candidate_index], self.timestamps_s[candidate_index], places
        ids, times = self.clip_frame_ids[candidate_index], self.clip_times_s[candidate_index]
        places, real = torch.arange(len(candidate_index))[:, None].expand_as(ids), ids >= 0
        return ids[real], times[real], places[real]

    def holding(self, frame_ids: Tensor) -> Tensor:
        """int64 (N,) increasing, the candidates that frames (n,) of theirs belong to, each once."""
        first = self.frame_ids if self.clip_frame_ids is None else self.clip_frame_ids[:, 0].contiguous()
        return (torch.searchsorted(first, frame_ids, right=True) - 1).unique()

    def within(self, start_s: float, end_s: float) -> Tensor:
        """bool (T,), the candidates of which a frame lies in [start, end)."""
        if self.clip_times_s is None or self.clip_frame_ids is None:
            return (self.timestamps_s >= start_s) & (self.timestamps_s < end_s)
        inside = (self.clip_times_s >= start_s) & (self.clip_times_s < end_s)
        return (inside & (self.clip_frame_ids >= 0)).any(1)

    def until(self, end_s: float) -> Candidates:
        """Those that are over at that second.

        Raises:
            ValueError: none is.
        """
        last_s = self.timestamps_s if self.clip_times_s is None else self.clip_times_s[:, -1]
        count = int((last_s <= end_s).sum())
        if not count:
            what = "frame" if self.clip_times_s is None else "clip"
            raise ValueError(
                f"asked at {end_s:g} s, when no {what} of {self.video} is over; the first ends at {last_s[0]:g} s"
            )
        return self.first(count)

    def first(self, count: int) -> Candidates:
        """The first so many of them."""
        return self.part(slice(count))

    def stretch(self, start_s: float, end_s: float) -> slice:
        """Positions of those that lie in [start, end]; of the nearest one where the stretch lies between two."""
        first_s = self.timestamps_s if self.clip_times_s is None else self.clip_times_s[:, 0]
        last_s = self.timestamps_s if self.clip_times_s is None else self.clip_times_s[:, -1]
        inside = torch.nonzero((first_s >= start_s) & (last_s <= end_s)).flatten()
        if not len(inside):
            inside = (self.timestamps_s - (start_s + end_s) / 2).abs().argmin()[None]
        return slice(int(inside[0]), int(inside[-1]) + 1)

    def part(self, which: slice) -> Candidates:
        """Some of them that follow one another."""
        per_candidate = ("frame_ids", "timestamps_s", "source_index", "clip_frame_ids", "clip_times_s")
        cut = {name: value[which] for name in per_candidate if (value := getattr(self, name)) is not None}
        return replace(self, **cut)

    def in_clips(self, clip_frames: int) -> Candidates:
        """Clips of so many frames each, the last perhaps fewer, of candidates that are frames.

        A clip's ``frame_ids`` and ``timestamps_s`` are those of its middle frame, by which it is shown in pictures.
        """
        missing = -len(self) % clip_frames
        ids = torch.nn.functional.pad(self.frame_ids, (0, missing), value=-1).unflatten(0, (-1, clip_frames))
        times_s = torch.cat([self.timestamps_s, self.timestamps_s[-1:].expand(missing)]).unflatten(0, (-1, clip_frames))
        middle = torch.arange(len(ids)) * clip_frames + ((ids >= 0).sum(1) - 1) // 2
        return replace(
            self,
            frame_ids=self.frame_ids[middle],
            timestamps_s=self.timestamps_s[middle],
            source_index=None if self.source_index is None else self.source_index[middle],
            clip_frame_ids=ids,
            clip_times_s=times_s,
        )

    def by_source(self, candidate_index: Tensor) -> list[tuple[str, Tensor]]:
        """(file, positions within ``candidate_index``) for each file that some of these candidates (N,) come from."""
        if self.source_index is None:
            return [(self.video, torch.arange(len(candidate_index)))]
        source = self.source_index[candidate_index]
        return [(self.sources[int(s)], torch.nonzero(source == s).flatten()) for s in source.unique()]


@dataclass(frozen=True)
class Selection:
    """G ordered selections of K frames for each of B questions, as drawn."""

    candidate_index: Tensor
    """int64 (B, G, K) in draw order; -1 where a question has fewer than K candidates."""
    log_probs: Tensor
    """float32 (B, G, K), log-probability (nats) of each draw given the draws before it; 0 at padding; no graph."""
    looked_at: tuple[Tensor, ...] | None = None
    """B tensors int64 (n,), candidates whose frames had to be read to choose these; None: all or none, as the sampler
    says."""

    @property
    def mask(self) -> Tensor:
        """bool (B, G, K), True at real picks."""
        return self.candidate_index >= 0

    def in_time_order(self) -> Tensor:
        """Candidate indices (B, G, K) sorted in time, padding last."""
        big = torch.iinfo(torch.int64).max
        ordered = self.candidate_index.masked_fill(~self.mask, big).sort(dim=-1).values
        return ordered.masked_fill(ordered == big, -1)


@dataclass
class QuestionBatch:
    """What a data module hands to the evolution module."""

    questions: list[VideoQuestion]
    candidates: list[Candidates]
    features: Tensor
    """float32 (B, T, D), frozen encoder features, zero at padding; (B, T, P, D) where a frame has several tokens;
    (B, T, 0) without an encoder."""
    mask: Tensor
    """bool (B, T), True at real candidates."""
    timestamps_s: Tensor
    """float32 (B, T)."""
    queries: Tensor
    """float32 (B, Q, D), text features of the question; (B, 0, 0) where no encoder reads texts."""

    def to(self, device: torch.device) -> QuestionBatch:
        """Moves the tensors; the records stay on the host."""
        return QuestionBatch(
            self.questions,
            self.candidates,
            *(t.to(device) for t in (self.features, self.mask, self.timestamps_s, self.queries)),
        )

    def only(self, b: int) -> QuestionBatch:
        """Question b alone."""
        tensors = (self.features, self.mask, self.timestamps_s, self.queries)
        return QuestionBatch([self.questions[b]], [self.candidates[b]], *(t[b : b + 1] for t in tensors))

    def __len__(self) -> int:
        return len(self.questions)


@dataclass
class Rollouts:
    """One batch of trajectories: what was chosen, what the model answered to it. Rewards read this."""

    batch: QuestionBatch
    selection: Selection
    option_log_probs: Tensor | None = None
    """float32 (B, G, O), log-probabilities normalised over the options; -inf at absent options."""
    texts: list[list[str]] | None = None
    """B lists of G generated answers, where the model answered in text."""
    queries: list[list[list[str]]] | None = None
    """B lists of G lists of what the model wrote to search for; empty where that could not be read."""
    query_features: Tensor | None = None
    """float32 (B, G, Q, D), of those queries; zero where one is absent, the question's where there is none."""
    costs: list[list[Cost]] | None = None
    """B lists of G, what each trajectory took, as if nothing had been stored; known where an agent follows them."""
    undecoded: tuple[int, ...] = ()
    """Questions (positions in the batch) whose frames could not be decoded in this step: their answers are withheld
    (options at -inf, empty texts), and no reward applies to them."""
    unanswered: tuple[int, ...] = ()
    """Questions (positions in the batch) that a served model gave no answer to, where a recipe leaves these out: no
    reward applies to them either."""

    @property
    def answer_index(self) -> Tensor:
        """int64 (B,), index of the right option; -1 where unknown."""
        return torch.tensor([-1 if q.answer_index is None else q.answer_index for q in self.batch.questions])

    @property
    def chosen_option(self) -> Tensor:
        """int64 (B, G), the most probable option; -1 where the model gave none."""
        assert self.option_log_probs is not None
        best = self.option_log_probs.max(-1)
        return best.indices.masked_fill(best.values.isinf(), -1)

    def only(self, b: int, g: slice) -> Rollouts:
        """Question b alone, with some of its G trajectories."""
        picked = self.selection
        return Rollouts(
            self.batch.only(b),
            Selection(picked.candidate_index[b : b + 1, g], picked.log_probs[b : b + 1, g]),
            None if self.option_log_probs is None else self.option_log_probs[b : b + 1, g],
            None if self.texts is None else [self.texts[b][g]],
            None if self.queries is None else [self.queries[b][g]],
            None if self.query_features is None else self.query_features[b : b + 1, g],
            None if self.costs is None else [self.costs[b][g]],
            (0,) if b in self.undecoded else (),
            (0,) if b in self.unanswered else (),
        )

    def metadata(self, b: int) -> dict[str, Any]:
        """A short description of question b, for messages."""
        q = self.batch.questions[b]
        return {"sample_id": q.sample_id, "question": q.question, "answer": q.answer, "video": q.video}


@dataclass(frozen=True)
class Answer:
    """What a model said to one question, kept raw so that any scorer can judge it later without a model."""

    dataset: str
    split: str
    sample_id: str
    video: str
    system: str
    """Name of the system that answered."""
    question: str
    options: tuple[str, ...]
    answer_index: int | None
    text: str | None = None
    """Generated answer, as it came."""
    option_log_probs: tuple[float, ...] | None = None
    """Normalised over the options (nats); -inf throughout where the model gave no answer."""
    timestamps_s: tuple[float, ...] = ()
    """Of the frames it was shown."""
    evidence_s: tuple[tuple[float, float], ...] = ()
    groups: dict[str, str | tuple[str, ...]] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    """Texts that answer an open question."""
    exit: str | None = None
    """How a system that reasons in steps came to its end, e.g. ``"fine"`` or ``"forced"``; None for any other."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What it took to answer one question, as if nothing had been stored before; ``seconds`` are those that passed."""

    frames_decoded: int = 0
    """Frames of the video that were looked at by anybody, each once: all candidates where a sampler reads features."""
    frames_scored: int = 0
    """Of the candidates, those that were encoded or scored to choose among them: all where a sampler reads features."""
    frames_shown: int = 0
    """To the MLLM, over all calls."""
    visual_tokens: int | None = 0
    """Of those frames, over all calls; None where a server does not tell them from the text."""
    text_tokens_in: int | None = 0
    """Of prompts, over all calls; with the visual ones where a server does not tell them apart."""
    text_tokens_out: int | None = 0
    """That were written."""
    calls: int = 0
    """Of the MLLM: a question scored, an answer written, queries written are one each."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By part, e.g. ``{"choose": 0.1, "answer": 0.4}``; an equal share where questions were answered together."""

    def __add__(self, other: Cost) -> Cost:
        def both(a: int | None, b: int | None) -> int | None:
            return None if a is None or b is None else a + b

        parts = {*self.seconds, *other.seconds}
        return Cost(
            frames_decoded=self.frames_decoded + other.frames_decoded,
            frames_scored=self.frames_scored + other.frames_scored,
            frames_shown=self.frames_shown + other.frames_shown,
            visual_tokens=both(self.visual_tokens, other.visual_tokens),
            text_tokens_in=both(self.text_tokens_in, other.text_tokens_in),
            text_tokens_out=both(self.text_tokens_out, other.text_tokens_out),
            calls=self.calls + other.calls,
            seconds={part: self.seconds.get(part, 0.0) + other.seconds.get(part, 0.0) for part in sorted(parts)},
        )


@dataclass(frozen=True, kw_only=True)
class TraceStep:
    """One step of a system that reasons in steps."""

    action: str
    """What it did, e.g. ``"locate"``."""
    role: Literal["captioner", "reasoner"]
    """Which model did it."""
    spans_s: tuple[tuple[float, float], ...] = ()
    """Stretches (start, end) in seconds that it was about, or that it chose."""
    text: str = ""
    """What was written: captions, an instruction, an answer."""
    reason: str = ""
    """Why, in the model's words; or what was wrong with an answer that could not be used."""
    reused: int = 0
    """Captions that had been written before, for another question or in another run."""
    cost: Cost = field(default_factory=Cost)
    """Of the calls that were made, those that were reused left out."""
