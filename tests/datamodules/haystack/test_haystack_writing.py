"""The same plan gives the same file, whatever else the machine does; and what a killed or failed writer leaves."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from datamodules.haystack import video_writing as write
from datamodules.haystack.render import render
from datamodules.haystack.video_writing import video_path, world_dir, write_videos
from datamodules.haystack.world import World
from recipes.launcher.guard import ROOT

WRITE = """
import ctypes, sys, threading
from pathlib import Path
import av, numpy as np
from datamodules.haystack.world import World
from datamodules.haystack.video_writing import write_video
folder, plain_cpu = Path(sys.argv[1]), sys.argv[2] == "plain"
if plain_cpu:  # as on a machine without any of its vector instructions
    maps = Path("/proc/self/maps").read_text().split()
    ctypes.CDLL(next(m for m in maps if "libavutil" in m)).av_force_cpu_flags(0)
busy = threading.Event()
def load():
    while not busy.is_set():
        np.random.bytes(np.random.randint(1000, 3_000_000))
threading.Thread(target=load, daemon=True).start()
for repeat in range(2):
    write_video(folder / f"{repeat}.mp4", World(duration_s=100.0, event_duration_s=(2.0, 2.5)), "train", 3)
busy.set()
"""


def test_one_plan_is_one_file_on_a_busy_machine_and_on_another_cpu(tmp_path: Path) -> None:
    writers = []
    for n in range(4):
        folder = tmp_path / str(n)
        folder.mkdir()
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(1 + n % 2)}
        if n == 3:
            env["NPY_DISABLE_CPU_FEATURES"] = " ".join(_vector_instructions())
        command = [sys.executable, "-c", WRITE, str(folder), "plain" if n == 3 else "own"]
        writers.append(subprocess.Popen(command, env=env))
    try:
        assert [writer.wait(120) for writer in writers] == [0] * 4
    finally:
        for writer in writers:
            writer.kill()
    files = sorted(tmp_path.rglob("*.mp4"))
    assert len(files) == 8
    assert len({hashlib.sha256(file.read_bytes()).hexdigest() for file in files}) == 1


def _vector_instructions() -> list[str]:
    """Those beyond the baseline that numpy would use on this machine."""
    return np.show_config(mode="dicts")["SIMD Extensions"]["found"]


def test_another_way_to_encode_has_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    before = world_dir("videos", World())
    monkeypatch.setitem(write._ENCODER, "crf", "18")
    assert world_dir("videos", World()) != before


def test_planes_are_those_of_the_standard() -> None:
    """Against the matrix of BT.601 in floating point; a grey picture has no chroma."""
    frames = render(World().plan("train", 0), np.array([3.0, 5.0]), 64)
    rows = write.planes(frames).astype(float)
    assert rows.shape == (2, 96, 64)
    red, green, blue = (frames[..., i] / 255 for i in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert np.abs(rows[:, :64] - (16 + 219 * luma)).max() <= 0.51
    cb = 128 + 224 * (blue - luma) / 1.772
    mean = cb.reshape(2, 32, 2, 32, 2).mean((2, 4))
    assert np.abs(rows[:, 64:80].reshape(2, 32, 32) - mean).max() <= 0.51
    grey = write.planes(np.full((1, 4, 4, 3), 77, np.uint8))
    assert set(grey[0, 4:].ravel()) == {128}


def test_a_killed_writer_leaves_no_process_and_no_half_video(tmp_path: Path, short_world: World) -> None:
    program = (
        "from datamodules.haystack.world import World\nfrom datamodules.haystack.video_writing import write_videos\n"
        f"write_videos({str(tmp_path)!r}, {short_world!r}, {{'train': 400}}, 2)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", program], env=env, stderr=subprocess.DEVNULL)
    deadline = time.time() + 60
    while not (children := _children(parent.pid)) or not list(tmp_path.rglob("*.mp4")):
        assert parent.poll() is None
        assert time.time() < deadline
        time.sleep(0.02)
    parent.send_signal(signal.SIGKILL)  # it alone, as the out-of-memory killer does
    parent.wait()
    while any(map(_runs, children)):
        assert time.time() < deadline, "the writers outlive the process that started them"
        time.sleep(0.05)
    killed = {path.name: path.read_bytes() for path in tmp_path.rglob("*.mp4")}
    assert 0 < len(killed) < 400
    for name in sorted(killed)[:3]:
        path = next(tmp_path.rglob(name))
        path.unlink()
        number = int(path.stem.removeprefix("train-"))  # two writers: there may be holes before it
        write_videos(str(tmp_path), short_world, {"train": number + 1}, 1)
        assert path.read_bytes() == killed[name]


def test_what_killed_writers_have_left_is_swept_when_it_is_old(tmp_path: Path, short_world: World) -> None:
    folder = world_dir(str(tmp_path), short_world) / "train"
    folder.mkdir(parents=True)
    old, new = folder / "a.partial", folder / "b.partial"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    write_videos(str(tmp_path), short_world, {"train": 1}, 1)
    assert not old.exists()
    assert new.exists()  # perhaps somebody is writing it
    assert video_path(str(tmp_path), short_world, "train", 0).is_file()


def _children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
