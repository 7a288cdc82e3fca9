"""A captioner and a reasoner that follow a script in a world whose every second is known: agents without models.

A fact is seen by whoever looks closely enough: the captioner tells it only of stretches that are no longer than the
fact's scope. Neither of the two knows a question's answer: the captioner knows the world, the reasoner what it reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modules.records import Candidates, Cost, QuestionBatch, VideoQuestion
from modules.roles.captioner import Caption, Captioner, CaptionRequest
from modules.roles.reasoner import Message, Reasoner, Written

COLOURS = ("red", "green", "blue", "white")
CUE, SECRET = "something glitters", "the secret colour is"


@dataclass(frozen=True)
class Fact:
    """Something that happens at a second, and is told of stretches of at most so many seconds."""

    second: float
    text: str
    scope_s: float


def needle(second: float, colour: str, scope_s: float, cue_scope_s: float = 1e9) -> list[Fact]:
    """A colour that is seen closely, and a cue that leads to it."""
    return [Fact(second, CUE, cue_scope_s), Fact(second, f"{SECRET} {colour}", scope_s)]


class ScriptedCaptioner(Captioner):
    """Tells the facts of a stretch.

    Args:
        facts: of each video.
        lies: makes of a text another one.
    """

    def __init__(self, facts: dict[str, list[Fact]], lies: Callable[[str], str] = lambda text: text) -> None:
        super().__init__()
        self.facts, self.lies = facts, lies
        self.requests: list[CaptionRequest] = []

    @property
    def key(self) -> str:
        return "scripted"

    def caption(self, requests: Sequence[CaptionRequest]) -> list[Caption]:
        self.requests += requests
        return [self._caption(request) for request in requests]

    def _caption(self, request: CaptionRequest) -> Caption:
        times_s = request.timestamps_s.tolist()
        step = times_s[1] - times_s[0] if len(times_s) > 1 else 0.5
        first, last = times_s[0] - step / 2, times_s[-1] + step / 2
        seen = [
            f.text for f in self.facts[request.video] if first <= f.second < last and last - first <= f.scope_s + 0.1
        ]
        text = self.lies(f"A room with {{braces}}. {' and '.join(seen)}".strip())
        tokens = len(request.prompt.split())
        cost = Cost(
            frames_shown=len(times_s),
            visual_tokens=4 * len(times_s),
            text_tokens_in=tokens,
            text_tokens_out=len(text.split()),
            calls=1,
        )
        return Caption(text, cost)


class ScriptedReasoner(Reasoner):
    """Believes what it reads: answers where a note tells the secret, and looks where something glitters.

    Args:
        spoiled: makes of an answer another one, given its number and what was asked.
    """

    def __init__(self, spoiled: Callable[[int, str, str], str] = lambda number, role, text: text) -> None:
        super().__init__()
        self.spoiled = spoiled
        self.asked: list[tuple[str, str]] = []
        """Role and prompt of each call."""

    def describe(self) -> dict[str, Any]:
        return {"reasoner": "scripted"}

    def write(self, messages: Sequence[Message]) -> Written:
        prompt = messages[0].text
        role = role_of(prompt)
        self.asked.append((role, prompt))
        answer = getattr(self, f"_{role}")(prompt)
        text = self.spoiled(len(self.asked), role, f"I think so.\n{json.dumps(answer)}")
        return Written(text, sum(len(m.text) for m in messages) // 4, len(text) // 4)

    def _relevant(self, prompt: str) -> dict[str, Any]:
        if "as a whole" in prompt.partition("A question about the video:")[2].partition("Before it")[0]:
            return {"whole_video": True, "periods": []}
        notes = notes_of(prompt)
        chosen = [n for n in notes if CUE in n[2]] or notes
        return {"whole_video": False, "periods": [n[:2] for n in chosen[:3]]}

    def _locate(self, prompt: str) -> dict[str, Any]:
        choice = [
            tuple(map(float, p)) for p in re.findall(r"([\d.]+) s - ([\d.]+) s", prompt.partition("one of these: ")[2])
        ]
        glitters = [n for n in notes_of(prompt) if CUE in n[2] and n[:2] in choice]
        best = min(glitters, key=lambda n: n[1] - n[0])[:2] if glitters else choice[0]
        return {"period": [best[0], best[1] - 0.04], "instruction": "Say which colour it is.", "reason": "it glitters"}

    def _instruct(self, prompt: str) -> dict[str, Any]:
        return {"instruction": "Say which colour it is.", "reason": "it is asked for"}

    def _answer(self, prompt: str) -> dict[str, Any]:
        for start, end, text in notes_of(prompt):
            found = re.search(rf"{SECRET} (\w+)", text)
            letter = found and re.search(rf"([A-D])\. {found[1]}", prompt)
            if letter:
                return {"confident": True, "answer": letter[1], "period": [start, end], "reason": "a note says so"}
        return {"confident": False, "answer": "", "period": None, "reason": "no note says so"}

    def _forced(self, prompt: str) -> dict[str, Any]:
        return {**self._answer(prompt), "confident": False, "answer": self._answer(prompt)["answer"] or "A"}


def role_of(prompt: str) -> str:
    """Which of the shipped prompts it is."""
    marks = {
        "whole_video": "relevant",
        "cannot be looked at any more": "forced",
        "absolute certainty": "answer",
        "Choose one of these": "locate",
        "will be looked at again": "instruct",
    }
    return next(role for mark, role in marks.items() if mark in prompt)


def notes_of(prompt: str) -> list[tuple[float, float, str]]:
    """The lines of a memory: start, end, text."""
    lines = re.findall(r"^ *\[([\d.]+) s - ([\d.]+) s\] (.*)$", prompt, re.MULTILINE)
    return [(float(start), float(end), text) for start, end, text in lines]


class Frames:
    """A source whose frames are grey; counts which are decoded."""

    def __init__(self) -> None:
        self.decoded: list[int] = []
        self.undecodable: set[str] = set()

    def frames_key(self, candidates: Candidates) -> str:
        return f"content-of-{candidates.video}"

    def decode_many(self, asked: Sequence[tuple[Candidates, Tensor]]) -> Iterator[Tensor | None]:
        for candidates, index in asked:
            self.decoded += index.tolist()
            broken = candidates.video in self.undecodable
            yield None if broken else torch.full((len(index), 3, 8, 12), 99, dtype=torch.uint8)


def question(
    number: int = 0, video: str = "v", colour: str = "blue", text: str = "Which colour?", **more: Any
) -> VideoQuestion:
    """One of four colours."""
    named: dict[str, Any] = {"options": COLOURS, "answer_index": COLOURS.index(colour), **more}
    return VideoQuestion("d", "s", f"q{number}", video, 0.0, text, **named)


def batch_of(questions: list[VideoQuestion], duration_s: float, fps: float = 2.0) -> QuestionBatch:
    """Questions on videos of one length, without features."""
    num_frames = int(duration_s * fps)
    times_s = torch.arange(num_frames).double() / fps
    candidates = [
        Candidates(q.video, torch.arange(num_frames) * 15, times_s, duration_s, 15 * num_frames) for q in questions
    ]
    size = len(questions)
    return QuestionBatch(
        questions,
        candidates,
        torch.empty(size, num_frames, 0),
        torch.ones(size, num_frames, dtype=torch.bool),
        times_s.float().expand(size, -1),
        torch.empty(size, 0, 0),
    )
