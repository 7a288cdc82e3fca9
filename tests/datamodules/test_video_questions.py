"""Order of batches: a pure function of seed and number, shared out to ranks; questions asked from the command line."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from datamodules.ask import AskData
from datamodules.video_questions import BatchOrder
from modules.encoders.open_clip import OpenCLIPEncoder


def batches(count: int, **kwargs: int) -> list[list[int]]:
    settings = {"num_items": 10, "batch_size": 3, "seed": 1, **kwargs}
    return [[i for i, _ in b] for b in islice(BatchOrder(**settings), count)]


def test_resumed_order_is_the_rest_of_the_whole() -> None:
    whole = batches(9)
    for used in range(9):
        assert batches(9 - used, first_batch=used) == whole[used:]
    assert (
        sorted(i for b in whole[:3] for i in b) != sorted(i for b in whole[3:6] for i in b)
        or len(set(map(tuple, whole))) > 1
    )
    assert len({i for b in whole[:3] for i in b}) == 9


def test_two_ranks_share_the_batches_of_one() -> None:
    one = batches(4, batch_size=4)
    two = [batches(4, batch_size=2, num_ranks=2, rank=r) for r in range(2)]
    assert [a + b for a, b in zip(*two, strict=True)] == one


def test_too_few_questions() -> None:
    with pytest.raises(ValueError, match="10 questions do not fill"):
        BatchOrder(10, 6, 0, num_ranks=2)


def test_ask(short_video: Path, blank_clip: Path, tmp_path: Path) -> None:
    encoder = OpenCLIPEncoder(model=f"local-dir:{blank_clip}")

    def data(**kwargs: str) -> AskData:
        settings = {"video": str(short_video), "question": "What?", **kwargs}
        return AskData(encoder=encoder, feature_dir=str(tmp_path), **settings)

    (question,) = data(options="red, green").questions("predict")
    assert question.options == ("red", "green")
    assert question.duration_s == pytest.approx(100.0)
    with pytest.raises(ValueError, match=r"--video: .*no such file"):
        data(video="none.mp4").questions("predict")
    with pytest.raises(ValueError, match="empty"):
        data(question=" ").questions("predict")
