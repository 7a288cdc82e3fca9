"""Writes Haystack videos as H.264 MP4, in parallel, once."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

from datamodules.haystack.render import render
from datamodules.haystack.world import World

FORMAT_VERSION = 1
_FRAMES_PER_PIECE = 256


def world_dir(root: str, world: World) -> Path:
    """Folder of a world's videos, named by a key of its parameters."""
    identity = json.dumps({"format": FORMAT_VERSION, **asdict(world)}, sort_keys=True)
    return Path(root) / hashlib.sha256(identity.encode()).hexdigest()[:12]


def write_video(path: Path, world: World, split: str, number: int) -> None:
    """Draws and encodes one video; the file appears whole or not at all."""
    plan = world.plan(split, number)
    times_s = np.arange(round(world.duration_s * world.fps)) / world.fps
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with av.open(str(partial), "w", format="mp4") as container:
        rate = Fraction(world.fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "18"})
        stream.width = stream.height = world.size_px
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = 60
        for start in range(0, len(times_s), _FRAMES_PER_PIECE):
            for pixels in render(plan, times_s[start : start + _FRAMES_PER_PIECE], world.size_px):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    os.replace(partial, path)


def _job(job: tuple[Path, World, str, int]) -> None:
    write_video(*job)


def write_videos(root: str, world: World, num_videos: dict[str, int], num_workers: int) -> None:
    """Writes what is missing of a world's videos; interrupted, it goes on where it stopped."""
    folder = world_dir(root, world)
    jobs = []
    for split, number in num_videos.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        jobs += [(video_path(root, world, split, n), world, split, n) for n in range(number)]
    jobs = [job for job in jobs if not job[0].exists()]
    if not jobs:
        return
    (folder / "world.json").write_text(json.dumps(asdict(world), indent=2) + "\n")
    with ProcessPoolExecutor(num_workers) as workers:
        done = workers.map(_job, jobs, chunksize=1)
        for _ in tqdm(done, total=len(jobs), desc=f"Writing {len(jobs)} videos to {folder}", unit="video"):
            pass


def video_path(root: str, world: World, split: str, number: int) -> Path:
    return world_dir(root, world) / split / f"{split}-{number:05d}.mp4"
