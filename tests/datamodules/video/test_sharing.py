"""Two real ranks over gloo: each video is decoded once over both, both agree, and nobody runs into a time-out."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from datamodules.haystack.video_writing import write_video
from recipes.launcher.guard import ROOT

pytestmark = pytest.mark.slow
NUM_FRAMES, NUM_MANY, TIMEOUT_S = 100, 8, 3.0


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


@pytest.fixture(scope="module")
def ranks(short_world, tmp_path_factory) -> list[dict[str, dict[str, Any]]]:
    """What each of two ranks came to, by case; their process group has a time-out of three seconds."""
    folder = tmp_path_factory.mktemp("sharing")
    few = [folder / f"{n}.mp4" for n in range(3)]
    for n, path in enumerate(few):
        write_video(path, short_world, "val", n)
    broken = folder / "broken.mp4"
    broken.write_bytes(few[0].read_bytes()[:3000])
    many = [folder / f"many{n}.mp4" for n in range(NUM_MANY)]
    for n, path in enumerate(many):  # equal files would share their features
        path.write_bytes(few[0].read_bytes() + b"\0\0\0\x09free" + bytes([n]))
    usual = {
        "videos": [few[0], broken, few[1], few[2]],
        "seconds_a_piece": [0.0, 0.0],
        "on_bad_video": "skip",
        "encode": True,
        "linger_s": 0.0,
    }
    cases = {
        "once": usual,
        "no encoder": {**usual, "encode": False},
        "one is slow": {**usual, "videos": many, "seconds_a_piece": [0.0, 1.5]},
        "raise": {**usual, "on_bad_video": "raise", "seconds_a_piece": [0.2, 0.2], "linger_s": 3.0},
    }
    told = json.dumps({name: {**case, "store": folder / name} for name, case in cases.items()}, default=str)
    port, script = str(free_port()), str(ROOT / "tests/datamodules/video/one_rank.py")
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(folder), str(rank), port, str(TIMEOUT_S), told],
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    for rank in range(2):
        assert (folder / f"{rank}.json").is_file(), errors[rank][-3000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("case", ["once", "no encoder"])
def test_both_hold_the_same_questions_without_the_one_whose_video_is_bad(ranks, case: str) -> None:
    first, second = (told[case] for told in ranks)
    assert "error" not in first | second
    assert [Path(v).name for v in first["bad"]] == [Path(v).name for v in second["bad"]] == ["broken.mp4"]
    assert first["questions"] == second["questions"] == ["0", "1", "2"]
    assert first["lengths"] == second["lengths"] == [NUM_FRAMES] * 3


def test_each_video_is_encoded_once_over_all_ranks(ranks) -> None:
    assert sum(told["once"]["frames"] for told in ranks) == 3 * NUM_FRAMES
    assert sum(told["one is slow"]["frames"] for told in ranks) == NUM_MANY * NUM_FRAMES


def test_a_slow_rank_takes_no_more_videos_and_the_other_waits_longer_than_the_time_out(ranks) -> None:
    first, second = (told["one is slow"] for told in ranks)
    assert "error" not in first | second, first | second
    assert first["frames"] >= second["frames"] > 0
    assert first["questions"] == second["questions"]


def test_what_stops_one_rank_stops_the_other_with_its_message(ranks) -> None:
    errors = sorted(told["raise"]["error"] for told in ranks)
    assert [error.split(":")[0] for error in errors] == ["BadVideoError", "RankError"]
    assert all("broken.mp4" in error for error in errors)
