"""Whoever waits for a video may go; then nobody decodes it any more, and the next one is decoded as ever."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from datamodules.video.decode_pool import DecodePool, ReadRequest, stream_many
from datamodules.video.decoding_settings import DecodingSettings
from datamodules.video.frame_reader import FrameReader
from datamodules.video.probe_store import ProbeStore
from modules.giving_up import GivenUpError, given_up_when, look, may_be_given_up, result_of


def test_without_a_context_nothing_is_given_up() -> None:
    assert not may_be_given_up()
    look()


def test_a_context_is_of_its_thread_alone() -> None:
    seen: list[bool] = []
    with given_up_when(lambda: True):
        assert may_be_given_up()
        other = threading.Thread(target=lambda: seen.append(may_be_given_up()))
        other.start()
        other.join()
        with pytest.raises(GivenUpError):
            look()
    assert seen == [False]
    assert not may_be_given_up()


def test_a_stream_ends_when_nobody_waits(short_video: Path) -> None:
    gone, started = threading.Event(), time.monotonic()
    requests = (ReadRequest(str(short_video), None, 1.0) for _ in range(1000))
    with given_up_when(gone.is_set), closing(stream_many(requests, 1)) as messages:
        next(messages)
        gone.set()
        with pytest.raises(GivenUpError):
            for _ in messages:
                pass
    assert time.monotonic() - started < 20


def test_a_pool_gives_up_one_file_and_reads_the_next(short_video: Path, tmp_path: Path) -> None:
    reader = FrameReader(ProbeStore(tmp_path), None, DecodingSettings(num_workers=1))
    gone = threading.Event()
    other = tmp_path / "other.mp4"
    other.write_bytes(short_video.read_bytes() + b"\0")
    with given_up_when(gone.is_set):
        gone.set()
        with pytest.raises(GivenUpError):
            reader.info(str(other))
    assert reader.info(str(short_video)).num_frames > 0
    with given_up_when(lambda: False):
        assert reader.info(str(other)).num_frames > 0
    reader.stop()


def test_a_worker_that_was_given_up_leaves_room_for_another(short_video: Path) -> None:
    pool = DecodePool(1)
    first = pool.submit(ReadRequest(str(short_video), ()))
    first.result()
    everything = tuple(range(0, 180))
    slow = [pool.submit(ReadRequest(str(short_video), everything)) for _ in range(3)]
    while not slow[0].running():
        time.sleep(0.001)
    pool.give_up(str(short_video))
    assert slow[0].exception() is not None or slow[0].result()
    assert len(slow[2].result(60)[1]) == 180  # by the worker in its place
    assert result_of(pool.submit(ReadRequest(str(short_video), ())))[0].num_frames > 0
    pool.stop()
    assert pool.read(ReadRequest(str(short_video), ()))[0].num_frames > 0
    pool.stop()
