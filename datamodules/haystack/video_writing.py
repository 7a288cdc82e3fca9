"""Writes Haystack videos as H.264 MP4, in parallel, once; the same plan gives the same bytes.

What would let the bytes depend on the machine or on chance is left out: x264's *mbtree*, which at 64 px reads beyond
its rows, so that one plan gave up to eight different files, and its ways of its own for each CPU; several threads; and
swscale, whose sums differ from CPU to CPU (`planes` takes its place). Without mbtree, crf 25 has the luma of crf 18
with it (52.3 dB), 1.7 dB more in chroma, and files that are a tenth larger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from datamodules.haystack.clip_world import ClipWorld
from datamodules.haystack.drawing_processes import map_in_processes
from datamodules.haystack.render import render
from datamodules.haystack.world import World
from modules.files.whole_files import appearing, sweep

FORMAT_VERSION = 2
"""Of what the settings below do not tell: how a plan is drawn and turned into planes."""
_ENCODER = {"preset": "veryfast", "crf": "25", "threads": "1", "x264-params": "mbtree=0:cpu-independent=1"}
_FRAMES_PER_GOP = 60
_FRAMES_PER_PIECE = 256


def world_dir(root: str, world: World | ClipWorld) -> Path:
    """Folder of a world's videos, named by a key of its parameters and of how they are encoded."""
    encoder = {**_ENCODER, "g": _FRAMES_PER_GOP}
    identity = json.dumps({"format": FORMAT_VERSION, "encoder": encoder, **parameters(world)}, sort_keys=True)
    return Path(root) / hashlib.sha256(identity.encode()).hexdigest()[:12]


def parameters(world: World | ClipWorld) -> dict[str, Any]:
    """What a world's files are named by; without what is none, so that a world with no difficulty keeps its folder."""
    return {name: value for name, value in asdict(world).items() if value is not None}


def write_video(path: Path, world: World | ClipWorld, split: str, number: int) -> None:
    """Draws and encodes one video; the file appears whole or not at all."""
    plan = world.plan(split, number)
    times_s = np.arange(round(world.duration_s * world.fps)) / world.fps
    with appearing(path, "video") as partial, av.open(str(partial), "w", format="mp4") as container:
        rate = Fraction(world.fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options=_ENCODER)
        stream.width = stream.height = world.size_px
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = _FRAMES_PER_GOP
        for start in range(0, len(times_s), _FRAMES_PER_PIECE):
            for picture in planes(render(plan, times_s[start : start + _FRAMES_PER_PIECE], world.size_px)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        container.mux(stream.encode(None))


def planes(frames: np.ndarray) -> np.ndarray:
    """BT.601 in its limited range, in integers, so that every machine rounds alike; chroma is the mean of 2 x 2.

    Args:
        frames: uint8 (N, H, W, 3), red, green, blue; H and W even.

    Returns:
        uint8 (N, 3H/2, W), the planes of yuv420p below one another.
    """
    num, height, width, _ = frames.shape
    red, green, blue = (np.ascontiguousarray(frames[..., i]) for i in range(3))
    luma = _weighed(red, green, blue, (16829, 33039, 6416), (16 << 16) + (1 << 15)) >> 16
    red, green, blue = (_sums_of_four(x) for x in (red, green, blue))
    cb = _weighed(red, green, blue, (-9714, -19070, 28784), (128 << 18) + (1 << 17)) >> 18
    cr = _weighed(red, green, blue, (28784, -24103, -4681), (128 << 18) + (1 << 17)) >> 18
    rows = np.concatenate([plane.reshape(num, -1) for plane in (luma, cb, cr)], axis=1)
    return rows.astype(np.uint8).reshape(num, height * 3 // 2, width)


def _weighed(
    red: np.ndarray, green: np.ndarray, blue: np.ndarray, weights: tuple[int, int, int], offset: int
) -> np.ndarray:
    """int32 of the shape of each."""
    total = np.multiply(red, np.int32(weights[0]), dtype=np.int32)
    total += np.multiply(green, np.int32(weights[1]), dtype=np.int32)
    total += np.multiply(blue, np.int32(weights[2]), dtype=np.int32)
    total += np.int32(offset)
    return total


def _sums_of_four(plane: np.ndarray) -> np.ndarray:
    """uint8 (N, H, W) -> uint16 (N, H/2, W/2)."""
    rows = plane[:, ::2].astype(np.uint16) + plane[:, 1::2]
    return rows[..., ::2] + rows[..., 1::2]


def write_videos(
    root: str, world: World | ClipWorld, num_videos: Mapping[str, int | Sequence[int]], num_workers: int
) -> None:
    """Writes what is missing of a world's videos; interrupted, it goes on where it stopped.

    Args:
        root: below which the world has its folder.
        world: what a video is like.
        num_videos: how many of each split, or the numbers of those that are wanted.
        num_workers: processes that draw.
    """
    folder = world_dir(root, world)
    numbers = {split: range(n) if isinstance(n, int) else n for split, n in num_videos.items()}
    named = [(split, n) for split, wanted in numbers.items() for n in wanted]
    missing = [(split, n) for split, n in named if not video_path(root, world, split, n).exists()]
    if not missing:
        return
    with appearing(folder / "world.json", "description of the world") as partial:
        partial.write_text(
            json.dumps({**parameters(world), "encoder": _ENCODER, "pyav": av.__version__}, indent=2) + "\n"
        )
    sweep(folder)
    paths = [video_path(root, world, split, n) for split, n in missing]
    map_in_processes(
        write_video,
        paths,
        [world] * len(paths),
        *zip(*missing, strict=True),
        total=len(paths),
        num_workers=num_workers,
        title=f"Writing {len(paths)} videos to {folder}",
    )


def video_path(root: str, world: World | ClipWorld, split: str, number: int) -> Path:
    return world_dir(root, world) / split / f"{split}-{number:05d}.mp4"
