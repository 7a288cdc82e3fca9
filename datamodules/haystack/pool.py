"""A pool of rendered frames with known content, on which the small stack is trained.

Drawn straight from plans of the ``stream`` split, so no training example of the stack shares a video with the worlds
that samplers are trained and tested on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from datamodules.haystack.drawing_processes import map_in_processes
from datamodules.haystack.render import render
from datamodules.haystack.video_writing import parameters
from datamodules.haystack.world import Event, VideoPlan, World
from modules.files.whole_files import appearing, sweep

FRAMES_PER_EVENT = 3
BACKGROUND_FRAMES = 12


def _sample_times(plan: VideoPlan, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Times (N,) and the event on at each, -1 for background."""
    times, event_index = [], []
    for i, event in enumerate(plan.events):
        thirds = (np.arange(FRAMES_PER_EVENT) + rng.uniform(0.05, 0.95, FRAMES_PER_EVENT)) / FRAMES_PER_EVENT
        times += list(event.start_s + thirds * (event.end_s - event.start_s))
        event_index += [i] * FRAMES_PER_EVENT
    while len(times) < len(plan.events) * FRAMES_PER_EVENT + BACKGROUND_FRAMES:
        t = rng.uniform(0, plan.duration_s)
        if not any(e.start_s <= t < e.end_s for e in plan.events):
            times.append(t)
            event_index.append(-1)
    order = np.argsort(times)
    return np.array(times)[order], np.array(event_index)[order]


def _render_video(world: World, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    plan = world.plan("stream", number)
    times, event_index = _sample_times(plan, np.random.default_rng([world.seed, 77, number]))
    return render(plan, times, world.size_px), times, event_index


@dataclass(kw_only=True)
class FramePool:
    """Frames of many never-written videos, rendered once and mapped from disk.

    Args:
        world: what the videos look like.
        num_videos: how many; about 65 frames each.
        cache_dir: where the pool lies; one file for each set of parameters.
        num_workers: processes that render.
    """

    world: World
    num_videos: int = 1500
    cache_dir: str = "data/haystack/pool"
    num_workers: int = 2

    @property
    def path(self) -> Path:
        identity = repr((sorted(parameters(self.world).items()), self.num_videos, FRAMES_PER_EVENT, BACKGROUND_FRAMES))
        return Path(self.cache_dir) / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.safetensors"

    def build(self) -> None:
        """Renders the pool where it is not there yet."""
        if self.path.exists():
            return
        sweep(self.path.parent)
        videos = map_in_processes(
            _render_video,
            [self.world] * self.num_videos,
            range(self.num_videos),
            total=self.num_videos,
            num_workers=self.num_workers,
            title="Rendering frames",
            chunksize=8,
        )
        lengths = [len(v[1]) for v in videos]
        tensors = {
            "frames": torch.from_numpy(np.concatenate([v[0] for v in videos])).permute(0, 3, 1, 2).contiguous(),
            "times_s": torch.from_numpy(np.concatenate([v[1] for v in videos])),
            "event_index": torch.from_numpy(np.concatenate([v[2] for v in videos])),
            "video": torch.repeat_interleave(torch.arange(len(videos)), torch.tensor(lengths)),
        }
        with appearing(self.path, "pool of frames") as partial:
            save_file(tensors, partial)

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        with safe_open(self.path, "pt") as file:
            return {name: file.get_tensor(name) for name in ("frames", "times_s", "event_index", "video")}

    @property
    def frames(self) -> Tensor:
        """uint8 (N, 3, H, W)."""
        return self._tensors["frames"]

    @property
    def times_s(self) -> Tensor:
        return self._tensors["times_s"]

    @property
    def event_index(self) -> Tensor:
        """int64 (N,), which event of its video a frame shows, -1 for background."""
        return self._tensors["event_index"]

    @cached_property
    def first_frame(self) -> Tensor:
        """int64 (num_videos + 1,), where each video begins in the pool."""
        counts = torch.bincount(self._tensors["video"], minlength=self.num_videos)
        return torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])

    @cached_property
    def plans(self) -> list[VideoPlan]:
        return [self.world.plan("stream", n) for n in range(self.num_videos)]

    @cached_property
    def background(self) -> np.ndarray:
        """int64 (n,), frames without an event."""
        return np.flatnonzero(self.event_index.numpy() < 0)

    @cached_property
    def _showing(self) -> dict[tuple[str, str, str], list[np.ndarray]]:
        event_index = self.event_index.numpy()
        out: dict[tuple[str, str, str], list[np.ndarray]] = {}
        for video, plan in enumerate(self.plans):
            first, last = int(self.first_frame[video]), int(self.first_frame[video + 1])
            for i, event in enumerate(plan.events):
                frames = first + np.flatnonzero(event_index[first:last] == i)
                out.setdefault((event.kind, event.colour, event.label), []).append(frames)
        return out

    def frames_showing(self, event: Event) -> list[np.ndarray]:
        """Every stretch of `FRAMES_PER_EVENT` frames that shows an event of this kind, colour and label, in order."""
        try:
            return self._showing[event.kind, event.colour, event.label]
        except KeyError:
            what = f"a {event.kind} {event.colour} {event.label}"
            raise ValueError(f"no video of this pool of {self.num_videos} shows {what}; make the pool larger") from None

    def video_of(self, frame: int) -> int:
        return int(self._tensors["video"][frame])
