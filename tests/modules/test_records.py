"""Records that say what of a video may be used, and what a candidate stands for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from datamodules.questions.items import Items
from datamodules.video.feature_store import Entry
from modules.records import Candidates, VideoQuestion

FRAMES = Candidates("v.mp4", torch.arange(4) * 2, torch.arange(4).double(), 4.0)


def test_what_is_over_at_a_second() -> None:
    assert FRAMES.until(2.0).timestamps_s.tolist() == [0, 1, 2]
    assert FRAMES.until(9.0).frame_ids.tolist() == [0, 2, 4, 6]
    clips = Candidates(
        "v.mp4",
        torch.tensor([0, 4]),
        torch.tensor([0.5, 2.0]).double(),
        4.0,
        clip_frame_ids=torch.tensor([[0, 2], [4, -1]]),
        clip_times_s=torch.tensor([[0.0, 1.0], [2.0, 2.0]]).double(),
    )
    seen = clips.until(1.5)
    assert (len(seen), seen.num_frames) == (1, 2)
    with pytest.raises(ValueError, match=r"asked at 0.5 s, when no clip of v.mp4 is over; the first ends at 1 s"):
        clips.until(0.5)


def test_what_lies_in_a_stretch() -> None:
    assert FRAMES.part(FRAMES.stretch(1.0, 2.5)).timestamps_s.tolist() == [1, 2]
    assert FRAMES.part(FRAMES.stretch(1.1, 1.4)).timestamps_s.tolist() == [1]  # between two: the nearest
    assert FRAMES.part(FRAMES.stretch(9.0, 11.0)).frame_ids.tolist() == [6]
    with pytest.raises(ValueError, match=r"question q: a stretch from 3 s to 2.0 s has no length"):
        VideoQuestion("d", "s", "q", "v.mp4", 4.0, "?", from_s=3.0, until_s=2.0)


def test_a_question_about_a_stretch_has_the_candidates_of_it_alone() -> None:
    features = torch.arange(4.0)[:, None]
    question = VideoQuestion("d", "s", "q", "v.mp4", 4.0, "?", from_s=1.0, until_s=2.0)
    items = Items(
        [question, replace(question, until_s=None)], lambda _: Entry(FRAMES, features), torch.zeros(2, 0), None
    )
    assert [items[n][1].features.flatten().tolist() for n in range(2)] == [[1, 2], [1, 2, 3]]
    assert items[0][1].candidates.frame_ids.tolist() == [2, 4]


def test_a_frame_stands_for_itself() -> None:
    ids, times, places = FRAMES.frames_of(torch.tensor([1, 3]))
    assert (ids.tolist(), times.tolist(), places.tolist()) == ([2, 6], [1, 3], [0, 1])
    assert FRAMES.within(1.0, 3.0).tolist() == [False, True, True, False]
    assert FRAMES.num_frames == 4
