"""Needles in feature space: lengths, evidence, order, own video excluded, seeded."""

from __future__ import annotations

import pytest
import torch

from datamodules.questions.needles import NeedleBuilder
from datamodules.video.feature_store import Entry
from modules.records import Candidates, VideoQuestion


def entry(video: str, length: int, fill: float) -> Entry:
    times = torch.arange(length, dtype=torch.float64)
    return Entry(Candidates(video, torch.arange(length) * 30, times, float(length)), torch.full((length, 4), fill))


QUESTIONS = [VideoQuestion("d", "train", f"q{i}", f"v{i // 2}", 100.0, "?", ("a", "b"), 0) for i in range(10)]
ENTRIES = {f"v{i}": entry(f"v{i}", 60 + 10 * i, float(i)) for i in range(5)}


def build(number: int, builder: NeedleBuilder | None = None) -> tuple[VideoQuestion, Entry]:
    def load(i: int) -> Entry:
        return ENTRIES[QUESTIONS[i].video]

    return (builder or NeedleBuilder()).build(QUESTIONS[0], ENTRIES["v0"], QUESTIONS, load, number)


@pytest.mark.parametrize("number", range(12))
def test_haystack(number: int) -> None:
    question, hay = build(number)
    copies = (len(hay.candidates) - 600) // 50
    assert 650 <= len(hay.candidates) <= 800
    times = hay.candidates.timestamps_s
    inside = torch.zeros(len(times), dtype=torch.bool)
    for start, end in question.evidence_s:
        inside |= (times >= start) & (times < end)
    assert inside.sum() == 50 * copies
    assert (hay.features[inside] == 0).all()
    assert (hay.features[~inside] > 0).all(), "the target's own video is among the distractors"
    for clip in hay.candidates.frame_ids.view(-1, 50):
        assert (clip.diff() > 0).all(), "frames of a clip are out of order"
    for t in (0, 333, 649):
        assert hay.candidates.sources[hay.candidates.source_index[t]] == f"v{int(hay.features[t, 0])}"


def test_seeded_by_batch_and_question() -> None:
    assert torch.equal(build(3)[1].candidates.frame_ids, build(3)[1].candidates.frame_ids)
    assert not torch.equal(build(3)[1].features, build(4)[1].features)


def test_only_where_it_applies() -> None:
    builder = NeedleBuilder(group="type")
    assert not builder.applies(QUESTIONS[0])
    assert builder.applies(VideoQuestion("d", "s", "i", "v", 1.0, "?", groups={"type": "specific"}))


def test_needs_another_video() -> None:
    with pytest.raises(ValueError, match="no other video"):
        NeedleBuilder().build(QUESTIONS[0], ENTRIES["v0"], QUESTIONS[:2], lambda i: ENTRIES["v0"], 0)
