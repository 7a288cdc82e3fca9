"""Training examples for the small stack, drawn from a frame pool: labels, texts, and questions with frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from datamodules.haystack.pool import BACKGROUND_FRAMES, FRAMES_PER_EVENT, FramePool
from datamodules.haystack.questions import ask, named
from datamodules.haystack.wordings import PATTERNS, SIGN_WORDS, Wordings, lettered, worded
from datamodules.haystack.world import ALL_SHAPES, COLOURS, DIRECTIONS, DOTS, GLYPHS, SHAPES, Event, VideoPlan, World
from datamodules.haystack.world_difficulty import CARDS
from modules.records import VideoQuestion

KINDS = ("nothing", "shape", "glyph", "dots", "boxes", "ball")
NOTHING = "nothing"
FIRST_UNSEEN = 10**6  # plans from here on are no pool's


def describe(event: Event | None) -> str:
    """What one frame shows, in two or three words."""
    if event is None:
        return NOTHING
    return {
        "shape": f"{event.colour} {event.label}",
        "glyph": f"{event.colour} letter {event.label}",
        "dots": f"{event.colour} dots {event.label}",
        "boxes": f"{event.colour} box {event.label}",
        "ball": f"{event.colour} ball",
    }[event.kind]


class PoolExamples(ABC):
    """Draws batches from a pool.

    Args:
        wide: of the wide stack, which knows every shape and wording, more kinds of questions, and times.
    """

    def __init__(self, *, wide: bool = False) -> None:
        self.wide = wide
        self.wordings: Wordings = "all" if wide else "plain"

    def sentences(self) -> list[str]:
        """Every pattern and word of the world, often enough for a tokenizer to merge each word into one token."""
        words = [*SHAPES, *COLOURS, *GLYPHS, *DOTS, *DIRECTIONS, NOTHING, "letter", "dots", "box", "ball"]
        patterns = [
            "What is shown?",
            "What colour is the first shape?",
            "What colour is the last shape?",
            "What colour is the shape right before the star?",
            "What colour is the shape right after the star?",
            "Which comes first: star, ring, heart or moon?",
            "How many times is a star shown?",
            "Which letter is red?",
            "How many red dots are on the card?",
            "Which colour is the box beside the red box?",
            "Which way does the red ball move?",
            "What colour is the star?",
            "user",
            "assistant",
        ]
        if self.wide:
            blanks = {"colour": "red", "shape": "star", **lettered(["star", "ring", "heart", "moon"])}
            patterns += [text.format(**blanks) for pattern in PATTERNS.values() for text in pattern.of("all")]
            words += [*ALL_SHAPES, *(str(percent) for percent in range(101))]
        return [*patterns, *words] * 50

    @abstractmethod
    def batch(self, pool: FramePool, rng: np.random.Generator, size: int, number: int) -> dict[str, Any]:
        """Batch ``number`` of ``size`` examples."""


class FrameLabels(PoolExamples):
    """Frames with what they show as class indices; -100 where a label does not apply."""

    def batch(self, pool: FramePool, rng: np.random.Generator, size: int, number: int) -> dict[str, Any]:
        index = np.sort(rng.integers(0, len(pool.frames), size))
        shapes = pool.world.shapes_of("stream")
        labels: dict[str, list[int]] = {name: [] for name in ("kind", "colour", "shape", "glyph", "dots", "partner")}
        where = []
        for i in index:
            event = event_of(pool, int(i))
            kind = event.kind if event else NOTHING
            labels["kind"].append(KINDS.index(kind))
            labels["colour"].append(COLOURS.index(event.colour) if event else -100)
            labels["shape"].append(shapes.index(event.label) if kind == "shape" else -100)
            labels["glyph"].append(GLYPHS.index(event.label) if kind == "glyph" else -100)
            labels["dots"].append(DOTS.index(event.label) if kind == "dots" else -100)
            labels["partner"].append(COLOURS.index(event.label) if kind == "boxes" else -100)
            is_ball = event is not None and event.kind == "ball"
            where.append(ball_position(event, float(pool.times_s[i])) if event and is_ball else (np.nan, np.nan))
        tensors = {name: torch.tensor(values) for name, values in labels.items()}
        return {
            "frames": pool.frames[index],
            "labels": tensors,
            "classes": {"colour": COLOURS, "shape": shapes, "glyph": GLYPHS, "dots": DOTS},
            "position": torch.tensor(where, dtype=torch.float32),
        }


class FrameTexts(PoolExamples):
    """Frames with texts: descriptions, and the questions whose evidence they are.

    ``matches[i, j]`` says that text i fits frame j; texts of one number in ``meanings`` (T,) differ in their wording
    alone. Questions about the first and last shape name nothing that can be seen in a frame; they fit every frame with
    an event alike.
    """

    def batch(self, pool: FramePool, rng: np.random.Generator, size: int, number: int) -> dict[str, Any]:
        index = np.sort(rng.integers(0, len(pool.frames), size))
        events = [event_of(pool, int(i)) for i in index]
        texts: dict[str, str] = {}
        for event in events:
            pattern, blanks = self._asked(event, pool.world.shapes_of("stream"), rng)
            plain = describe(event) if pattern is None else PATTERNS[pattern].plain.format(**blanks)
            texts[plain if pattern is None else worded(pattern, blanks, self.wordings, rng)] = plain
        matches = torch.tensor([[fits(text, e) for e in events] for text in texts])
        meanings = torch.tensor([list(texts.values()).index(plain) for plain in texts.values()])
        return {"frames": pool.frames[index], "texts": list(texts), "matches": matches, "meanings": meanings}

    def _asked(
        self, event: Event | None, shapes: tuple[str, ...], rng: np.random.Generator
    ) -> tuple[str | None, dict[str, str]]:
        """Pattern and blanks of a question that an event answers; no pattern for its description."""
        if rng.random() < 0.06:
            return str(rng.choice(["first", "last"])), {}
        if event is None or rng.random() < 0.3:
            return None, {}
        if self.wide and event.kind in CARDS and rng.random() < 0.3:
            return "apart", _shuffled([named(event), str(rng.choice(shapes))], rng)
        if event.kind != "shape":
            return event.kind, {"colour": event.colour}
        if rng.random() < 0.2:
            names = [event.label, *rng.permutation([s for s in shapes if s != event.label])[:3]]
            blanks = _shuffled(names, rng)
            return str(rng.choice(["order", "never"])) if self.wide else "order", blanks
        if self.wide and rng.random() < 0.15:
            others = [
                *(s for s in shapes if s != event.label),
                *(f"{colour} {SIGN_WORDS[kind][0]}" for colour in COLOURS for kind in CARDS),
            ]
            return "apart", _shuffled([event.label, str(rng.choice(others))], rng)
        patterns = ["colour", "count", "before", "after", *(["when"] if self.wide else [])]
        return str(rng.choice(patterns)), {"shape": event.label}


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One stretch of the answerer's lessons.

    Args:
        num_batches: its length.
        captions_frac: share of examples that ask for a description of every frame.
        evidence_frac: share of the questions whose every evidence event is among the frames; the others get frames at
            random, which teaches the model to stay undecided when it has not seen the answer.
        num_frames: fewest and most frames of an example.
        kinds: relative weight of each kind of question.
    """

    num_batches: int
    captions_frac: float
    evidence_frac: float
    num_frames: tuple[int, int]
    kinds: dict[str, float]


class Stretch(Protocol):
    """A part of the lessons that lasts for some batches."""

    @property
    def num_batches(self) -> int: ...


S = TypeVar("S", bound=Stretch)


def phase_at(phases: Sequence[S], number: int) -> S:
    """The phase that batch ``number`` belongs to; the last one goes on for ever."""
    for phase in phases:
        number -= phase.num_batches
        if number < 0:
            return phase
    return phases[-1]


class FrameQuestions(PoolExamples):
    """Questions with K frames of their video, as a sampler might choose them, and descriptions of such frames.

    Lessons come in phases, because binding a name to the frame that shows it is what is hard: few frames and questions
    that name one thing first (alone, it clicks within 300 batches), then everything. Whether all kinds mixed from the
    start would do was not settled (docs/log.md).

    No example comes twice: each has a plan of its own, played by frames of the pool that show the same thing (with the
    pool's own 1 500 videos the model came to know the videos).

    Args:
        phases: in order; the last one goes on for ever, and validation uses it.
        wide: see `PoolExamples`; batches then say when each frame was taken.
    """

    def __init__(self, *, phases: list[Phase], wide: bool = False) -> None:
        super().__init__(wide=wide)
        self.phases = phases

    def phase(self, number: int) -> Phase:
        """The phase that a batch belongs to."""
        return phase_at(self.phases, number)

    def batch(self, pool: FramePool, rng: np.random.Generator, size: int, number: int) -> dict[str, Any]:
        phase = self.phase(number)
        num_frames = int(rng.integers(phase.num_frames[0], phase.num_frames[1] + 1))
        questions, answers, index, times = [], [], [], []
        for _ in range(size):
            plan, question = draw_question(pool.world, phase.kinds, rng, self.wordings)
            frames, events = choose_frames(pool, plan, question, num_frames, phase.evidence_frac, rng)
            answer = question.answer
            if rng.random() < phase.captions_frac:
                answer = " ".join(describe(plan.events[e] if e >= 0 else None) for e in events)
                question = VideoQuestion("haystack", "stream", "caption", "", question.duration_s, "What is shown?")
            questions.append(question)
            answers.append(answer)
            index.append(frames)
            if self.wide:
                times.append(torch.from_numpy(times_of(plan, events, rng)))
        batch = {"questions": questions, "answers": answers, "index": torch.from_numpy(np.stack(index))}
        return batch | ({"times_s": torch.stack(times)} if self.wide else {})


def draw_question(
    world: World, kinds: dict[str, float], rng: np.random.Generator, wordings: Wordings = "plain"
) -> tuple[VideoPlan, VideoQuestion]:
    """A plan that no pool has and a question about it, of a kind drawn by its weight."""
    plan = world.plan("stream", int(rng.integers(FIRST_UNSEEN, 2**40)))
    kind = str(rng.choice(list(kinds), p=np.array(list(kinds.values())) / sum(kinds.values())))
    asked = ask(plan, "stream", "", {kind: 10 if kind == "needle" else 1}, rng, wordings)
    return plan, asked[rng.integers(len(asked))]


def choose_frames(
    pool: FramePool,
    plan: VideoPlan,
    question: VideoQuestion,
    num_frames: int,
    evidence_frac: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Pool indices (K,) in order of time, and which event of the plan each shows, -1 for background."""
    cast = [pool.frames_showing(e)[rng.integers(len(pool.frames_showing(e)))] for e in plan.events]
    background = rng.choice(pool.background, BACKGROUND_FRAMES)
    gap = rng.integers(0, len(cast) + 1, BACKGROUND_FRAMES)  # before which event each background frame comes
    pool_index = np.concatenate([np.concatenate(cast), background])
    of_event = np.concatenate([np.repeat(np.arange(len(cast)), FRAMES_PER_EVENT), np.full(BACKGROUND_FRAMES, -1)])
    order = np.argsort(np.concatenate([np.repeat(np.arange(len(cast)), FRAMES_PER_EVENT) + 0.5, gap]), kind="stable")
    pool_index, of_event = pool_index[order], of_event[order]

    evidence = [i for i, e in enumerate(plan.events) if e.span_s in question.evidence_s]
    chosen: list[int] = []
    if rng.random() < evidence_frac:
        for i in evidence:
            per_event = 2 if plan.events[i].kind == "ball" else 1
            chosen += list(rng.choice(np.flatnonzero(of_event == i), per_event, replace=False))
        chosen = chosen[:num_frames]
    weight = np.where(of_event < 0, rng.choice([0.2, 1.0, 4.0]), 1.0)
    weight[np.isin(of_event, evidence)] *= rng.choice([1.0, 6.0])
    weight[chosen] = 0
    chosen += list(rng.choice(len(of_event), num_frames - len(chosen), replace=False, p=weight / weight.sum()))
    kept = np.sort(np.array(chosen, dtype=np.int64))
    return pool_index[kept], of_event[kept]


def times_of(plan: VideoPlan, events: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Times in seconds (K,), increasing, at which frames can have shown some events of a plan.

    Args:
        plan: of the video.
        events: (K,) which event each frame shows, in order of time; -1 for background.
        rng: draws the times.
    """
    lows, highs = np.empty(len(events)), np.empty(len(events))
    before, after = 0.0, plan.duration_s
    for k, event in enumerate(events):
        if event >= 0:
            before = plan.events[event].end_s
        lows[k] = plan.events[event].start_s if event >= 0 else before
    for k, event in reversed(list(enumerate(events))):
        if event >= 0:
            after = plan.events[event].start_s
        highs[k] = plan.events[event].end_s if event >= 0 else after
    return np.sort(rng.uniform(lows, highs))


def event_of(pool: FramePool, frame: int) -> Event | None:
    """The event that a frame of the pool shows."""
    index = int(pool.event_index[frame])
    return None if index < 0 else pool.plans[pool.video_of(frame)].events[index]


def ball_position(event: Event, time_s: float) -> tuple[float, float]:
    """Offset of a ball from the middle along its way, in -0.5..0.5 (x, y)."""
    progress = (time_s - event.start_s) / (event.end_s - event.start_s) - 0.5
    dx, dy = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}[event.label]
    return dx * progress, dy * progress


def fits(text: str, event: Event | None) -> bool:
    """Whether a frame that shows an event is what a description says, or evidence of what a question asks."""
    if event is None or not text.endswith("?"):
        return text == describe(event)
    words = set(text.replace("?", "").replace(",", "").replace(":", "").split())
    shapes = words & set(ALL_SHAPES)
    if event.kind == "shape" and shapes:
        return event.label in shapes
    asked = [kind for kind, names in SIGN_WORDS.items() if words & set(names)]
    return event.kind in asked and event.colour in words if asked else not shapes


def _shuffled(names: list[str], rng: np.random.Generator) -> dict[str, str]:
    return lettered([str(name) for name in rng.permutation(names)])
