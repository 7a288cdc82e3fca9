"""Rewards over a served model: what it is worth to ask about a question while the next one's frames are decoded.

    PYTHONPATH=.:tests python tests/benchmarks/served_rewards.py

A small server answers each call after a set delay, so many at a time; frames of a question take a set time to decode
(they come from other processes, so that this one waits). Both ways are timed in turn in one run, so that read their
ratio. The floor is what the server needs for all calls alone, or all decoding, whichever is more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import torch
from chat_server import ChatServer

from modules.mllms.openai import OpenAIChat
from modules.records import Candidates, QuestionBatch, Selection, VideoQuestion
from modules.systems.answering import Answering

NUM_CANDIDATES = 64


class TimedSource:
    """Gives a question's frames after so many seconds."""

    def __init__(self, decode_s: float, side_px: int) -> None:
        self.decode_s = decode_s
        blobs = torch.rand(NUM_CANDIDATES, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        size = (side_px, side_px)
        self.frames = torch.nn.functional.interpolate(blobs, size, mode="bilinear").mul(255).to(torch.uint8)

    def decode_many(self, asked: list[tuple[Candidates, torch.Tensor]]) -> Iterator[torch.Tensor]:
        for _, index in asked:
            time.sleep(self.decode_s)
            yield self.frames[index]


def batch(questions: int, rollouts: int, num_frames: int) -> tuple[QuestionBatch, Selection]:
    """Questions with drawn selections."""
    draw = torch.Generator().manual_seed(1)
    index = torch.rand(questions, rollouts, NUM_CANDIDATES, generator=draw).argsort(-1)[..., :num_frames]
    asked = [VideoQuestion("d", "s", f"q{n}", "v", 64.0, "Bright?", ("no", "yes"), 1) for n in range(questions)]
    times = torch.arange(float(NUM_CANDIDATES))
    candidates = [Candidates("v", torch.arange(NUM_CANDIDATES), times, 64.0) for _ in asked]
    mask = torch.ones(questions, NUM_CANDIDATES, dtype=torch.bool)
    features = torch.zeros(questions, NUM_CANDIDATES, 1)
    whole = QuestionBatch(asked, candidates, features, mask, times.repeat(questions, 1), torch.zeros(questions, 1, 1))
    return whole, Selection(index, torch.zeros(index.shape))


class OneAfterAnother(OpenAIChat):
    """All frames first, then all calls, as with a local model."""

    @property
    def answers_elsewhere(self) -> bool:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay_s", type=float, default=0.25)
    parser.add_argument("--decode_s", type=float, default=0.25)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--side_px", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    server, source = ChatServer(delay_s=given.delay_s), TimedSource(given.decode_s, given.side_px)
    whole, selection = batch(given.questions, given.rollouts, given.frames)
    seconds: dict[str, list[float]] = {"one after another": [], "overlapped": []}
    for _ in range(given.rounds):
        scores = []
        for name, kind in (("one after another", OneAfterAnother), ("overlapped", OpenAIChat)):
            served = kind(model="m", base_url=server.url, concurrency=given.concurrency, image_side_px=None)
            answering: Any = Answering(served, canary=False)
            started = time.perf_counter()
            scores.append(answering.answer(source, whole, selection).option_log_probs)
            seconds[name].append(time.perf_counter() - started)
        assert torch.equal(*scores)
    calls = given.questions * given.rollouts
    floor_s = max(calls * given.delay_s / given.concurrency, given.questions * given.decode_s)
    for name, values in seconds.items():
        print(f"{name:18s} {' '.join(f'{s:6.2f}' for s in values)} s for {calls} calls")
    ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
    print(f"ratio {' '.join(f'{r:.2f}' for r in ratios)}; the floor is {floor_s:.2f} s")
    server.close()


if __name__ == "__main__":
    main()
