"""Captions of Haystack frames, and lessons in captioning: what CLIP learns from, and what a query writer writes.

A real CLIP has read captions, hardly a question, so a question finds its frames poorly ("the question alone lacks
visual cues": MSJoE's motivation). `FrameCaptions` trains such a CLIP; `TwoTurnLessons` trains a model to write captions
as queries, but only roughly, so that joint training has something to improve.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from datamodules.haystack.examples import PoolExamples, choose_frames, describe, draw_question, event_of
from datamodules.haystack.pool import FramePool
from datamodules.haystack.world import COLOURS, SHAPES, Event
from modules.records import VideoQuestion

_NOUNS = {"glyph": "letter", "dots": "dots", "boxes": "box", "ball": "ball"}


def words_of(event: Event | None) -> set[str]:
    """Every word that is true of a frame."""
    return set(describe(event).split()) | ({event.kind} if event is not None and event.kind == "shape" else set())


def queries_for(question: VideoQuestion) -> list[str]:
    """Captions of what a question is about, at most four, from its text alone."""
    words = question.question.replace("?", "").replace(",", "").replace(":", "").split()
    named = [w for w in words if w in SHAPES]
    if named:
        return named[:4]
    colours = [w for w in words if w in COLOURS]
    noun = next((n for n in _NOUNS.values() if n in words), "shape")
    return [" ".join([*colours[:1], noun])]


class FrameCaptions(PoolExamples):
    """Frames with captions, whole ("red star") or partial ("star", "shape"); ``matches[i, j]`` as in `FrameTexts`."""

    def batch(self, pool: FramePool, rng: np.random.Generator, size: int, number: int) -> dict[str, Any]:
        index = np.sort(rng.integers(0, len(pool.frames), size))
        events = [event_of(pool, int(i)) for i in index]
        texts = list(dict.fromkeys(self._caption(e, rng) for e in events))
        matches = torch.tensor([[set(text.split()) <= words_of(e) for e in events] for text in texts])
        return {"frames": pool.frames[index], "texts": texts, "matches": matches}

    def _caption(self, event: Event | None, rng: np.random.Generator) -> str:
        whole = describe(event)
        if event is None:
            return whole
        if event.kind == "shape":
            return str(rng.choice([whole, event.label, event.label, "shape"]))
        noun = _NOUNS[event.kind]
        return str(rng.choice([whole, f"{event.colour} {noun}", f"{event.colour} {noun}", noun]))


class TwoTurnLessons(PoolExamples):
    """Half queries on previews, half answers on chosen frames, each in its format.

    Queries are rough: most often they name no more than the sort of thing that is asked about ("shape", "letter").

    Args:
        queries_template, answer_template: files of the two prompts.
        specific_frac: share of the lessons in which the queries say what is asked about.
        num_previews: frames in turn 1.
        num_frames: fewest and most frames in turn 2.
        evidence_frac: share of the answers whose evidence is among the frames.
        kinds: relative weight of each kind of question.
    """

    def __init__(
        self,
        *,
        queries_template: str,
        answer_template: str,
        specific_frac: float = 0.35,
        num_previews: int = 4,
        num_frames: tuple[int, int] = (7, 9),
        evidence_frac: float = 0.85,
        kinds: dict[str, float],
    ) -> None:
        super().__init__()
        self.templates = (queries_template, answer_template)
        self.specific_frac, self.num_previews, self.num_frames = specific_frac, num_previews, num_frames
        self.evidence_frac, self.kinds = evidence_frac, kinds

    def batch(self, pool: FramePool, rng: np.random.Generator, size: int, number: int) -> dict[str, Any]:
        """A batch is of one turn; the turns alternate."""
        turn = number % 2
        num_frames = int(rng.integers(self.num_frames[0], self.num_frames[1] + 1)) if turn else self.num_previews
        questions, answers, index = [], [], []
        for _ in range(size):
            plan, question = draw_question(pool.world, self.kinds, rng)
            evidence_frac = self.evidence_frac if turn else 0.0
            index.append(choose_frames(pool, plan, question, num_frames, evidence_frac, rng)[0])
            questions.append(question)
            answers.append(self._answer(question) if turn else self._queries(question, rng))
        return {
            "questions": questions,
            "answers": answers,
            "index": torch.from_numpy(np.stack(index)),
            "template": self.templates[turn],
            "preview": not turn,
        }

    def _queries(self, question: VideoQuestion, rng: np.random.Generator) -> str:
        queries = queries_for(question)
        if rng.random() > self.specific_frac:
            queries = ["shape" if queries[0] in SHAPES else queries[0].split()[-1]]
        return f"<think>{queries[0]}</think><queries>{json.dumps(queries)}</queries>"

    def _answer(self, question: VideoQuestion) -> str:
        return f"<think>{queries_for(question)[0]}</think><answer>{question.answer}</answer>"
