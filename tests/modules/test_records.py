"""Records that say what of a video may be used, and what a candidate stands for."""

from __future__ import annotations

import pytest
import torch

from modules.records import Candidates

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


def test_a_frame_stands_for_itself() -> None:
    ids, times, places = FRAMES.frames_of(torch.tensor([1, 3]))
    assert (ids.tolist(), times.tolist(), places.tolist()) == ([2, 6], [1, 3], [0, 1])
    assert FRAMES.within(1.0, 3.0).tolist() == [False, True, True, False]
    assert FRAMES.num_frames == 4
