"""Draws a plan: drifting background, clutter, and whatever event is on at a time."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from datamodules.haystack.world import Event, VideoPlan

RGB = {
    "red": (228, 26, 28),
    "green": (30, 190, 50),
    "blue": (40, 70, 240),
    "yellow": (250, 225, 30),
    "purple": (200, 40, 220),
    "white": (250, 250, 250),
}
_CROSS = [(0.35, 0.0), (0.65, 0.0), (0.65, 0.35), (1.0, 0.35), (1.0, 0.65), (0.65, 0.65)]
_PRONGS = [(0.0, 0.0), (0.2, 0.0), (0.2, 0.4), (0.4, 0.4), (0.4, 0.0), (0.6, 0.0), (0.6, 0.4), (0.8, 0.4), (0.8, 0.0)]
_DOORWAY = [(0.86, 1.0), (0.64, 1.0), (0.64, 0.62), (0.36, 0.62), (0.36, 1.0), (0.14, 1.0)]
_VAULT = [(0.0, 0.35), (0.15, 0.1), (0.35, 0.0), (0.65, 0.0), (0.85, 0.1), (1.0, 0.35)]
_STAR = zip(np.arange(10) * np.pi / 5, [0.52, 0.2] * 5, strict=True)
_POLYGONS: dict[str, list[tuple[float, float]]] = {  # unit square, y down
    "triangle": [(0.5, 0.02), (0.98, 0.95), (0.02, 0.95)],
    "diamond": [(0.5, 0.0), (0.86, 0.5), (0.5, 1.0), (0.14, 0.5)],
    "square": [(0.08, 0.08), (0.92, 0.08), (0.92, 0.92), (0.08, 0.92)],
    "cross": [*_CROSS, (0.65, 1.0), (0.35, 1.0), (0.35, 0.65), (0.0, 0.65), (0.0, 0.35), (0.35, 0.35)],
    "arrow": [(0.0, 0.34), (0.5, 0.34), (0.5, 0.05), (1.0, 0.5), (0.5, 0.95), (0.5, 0.66), (0.0, 0.66)],
    "star": [(0.5 + r * np.sin(a), 0.52 - r * np.cos(a)) for a, r in _STAR],
    "bolt": [(0.62, 0.0), (0.12, 0.58), (0.44, 0.58), (0.34, 1.0), (0.88, 0.38), (0.54, 0.38)],
    "house": [(0.5, 0.0), (1.0, 0.45), (0.86, 0.45), *_DOORWAY, (0.14, 0.45), (0.0, 0.45)],
    "flag": [(0.1, 0.0), (0.95, 0.0), (0.95, 0.5), (0.27, 0.5), (0.27, 1.0), (0.1, 1.0)],
    "chevron": [(0.5, 0.12), (1.0, 0.62), (1.0, 0.96), (0.5, 0.48), (0.0, 0.96), (0.0, 0.62)],
    "hourglass": [(0.08, 0.0), (0.92, 0.0), (0.56, 0.5), (0.92, 1.0), (0.08, 1.0), (0.44, 0.5)],
    "crown": [(0.0, 0.12), (0.25, 0.5), (0.5, 0.06), (0.75, 0.5), (1.0, 0.12), (1.0, 0.92), (0.0, 0.92)],
    "arch": [(0.0, 1.0), *_VAULT, (1.0, 1.0), (0.7, 1.0), (0.7, 0.42), (0.6, 0.3), (0.4, 0.3), (0.3, 0.42), (0.3, 1.0)],
    "fork": [*_PRONGS, (1.0, 0.0), (1.0, 0.62), (0.6, 0.62), (0.6, 1.0), (0.4, 1.0), (0.4, 0.62), (0.0, 0.62)],
    "corner": [(0.05, 0.0), (0.4, 0.0), (0.4, 0.65), (1.0, 0.65), (1.0, 1.0), (0.05, 1.0)],
}
_GLYPH_STROKES: dict[str, list[list[tuple[float, float]]]] = {  # unit square, y down
    "A": [[(0.15, 1), (0.5, 0), (0.85, 1)], [(0.3, 0.65), (0.7, 0.65)]],
    "H": [[(0.2, 0), (0.2, 1)], [(0.8, 0), (0.8, 1)], [(0.2, 0.5), (0.8, 0.5)]],
    "K": [[(0.2, 0), (0.2, 1)], [(0.8, 0), (0.2, 0.55), (0.8, 1)]],
    "S": [[(0.8, 0.02), (0.2, 0.02), (0.2, 0.5), (0.8, 0.5), (0.8, 0.98), (0.2, 0.98)]],
    "T": [[(0.1, 0.03), (0.9, 0.03)], [(0.5, 0), (0.5, 1)]],
    "Z": [[(0.15, 0.03), (0.85, 0.03), (0.15, 0.97), (0.85, 0.97)]],
}
_DICE = {
    "1": [(0.5, 0.5)],
    "2": [(0.25, 0.25), (0.75, 0.75)],
    "3": [(0.2, 0.2), (0.5, 0.5), (0.8, 0.8)],
    "4": [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)],
    "5": [(0.2, 0.2), (0.8, 0.2), (0.5, 0.5), (0.2, 0.8), (0.8, 0.8)],
    "6": [(0.25, 0.15), (0.75, 0.15), (0.25, 0.5), (0.75, 0.5), (0.25, 0.85), (0.75, 0.85)],
}
_MOTION = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
_SUPERSAMPLING = 4


@lru_cache(maxsize=4096)
def _sprite(kind: str, colour: str, label: str, width_px: int) -> np.ndarray:
    """Float32 (w, w, 4) RGBA in 0..1 of an event, antialiased."""
    w = width_px * _SUPERSAMPLING
    image = Image.new("RGBA", (w, w), (0, 0, 0, 0))
    draw, ink = ImageDraw.Draw(image), (*RGB[colour], 255)

    def points(unit: list[tuple[float, float]], margin: float = 0.0) -> list[tuple[float, float]]:
        return [((margin + (1 - 2 * margin) * x) * (w - 1), (margin + (1 - 2 * margin) * y) * (w - 1)) for x, y in unit]

    if kind == "ball":
        draw.ellipse([0.18 * w, 0.18 * w, 0.82 * w, 0.82 * w], fill=ink)
    elif kind == "boxes":
        draw.rectangle([0.0, 0.22 * w, 0.47 * w, 0.78 * w], fill=ink)
        draw.rectangle([0.53 * w, 0.22 * w, w, 0.78 * w], fill=(*RGB[label], 255))
    elif kind == "glyph":
        draw.rectangle([0, 0, w, w], fill=(20, 20, 20, 255))
        for stroke in _GLYPH_STROKES[label]:
            draw.line(points(stroke, 0.16), fill=ink, width=int(0.15 * w), joint="curve")
    elif kind == "dots":
        draw.rectangle([0, 0, w, w], fill=(20, 20, 20, 255))
        for x, y in _DICE[label]:
            cx, cy, r = (0.08 + 0.84 * x) * w, (0.08 + 0.84 * y) * w, 0.12 * w
            draw.ellipse([cx - r, cy - r, cx + r, cy + r], fill=ink)
    elif label == "ring":
        draw.ellipse([0.02 * w, 0.02 * w, 0.98 * w, 0.98 * w], outline=ink, width=int(0.17 * w))
    elif label == "moon":
        draw.ellipse([0.02 * w, 0.02 * w, 0.98 * w, 0.98 * w], fill=ink)
        draw.ellipse([0.3 * w, -0.08 * w, 1.16 * w, 0.78 * w], fill=(0, 0, 0, 0))
    elif label == "heart":
        draw.ellipse([0.0, 0.06 * w, 0.52 * w, 0.56 * w], fill=ink)
        draw.ellipse([0.48 * w, 0.06 * w, w, 0.56 * w], fill=ink)
        draw.polygon(points([(0.04, 0.42), (0.96, 0.42), (0.5, 1.0)]), fill=ink)
    else:
        draw.polygon(points(_POLYGONS[label]), fill=ink)
    return np.asarray(image.resize((width_px, width_px), Image.Resampling.BOX), dtype=np.float32) / 255


def _sin(phase: np.ndarray) -> np.ndarray:
    """Float32 of any shape, taken in float64: numpy's float32 sines differ in their last bit from CPU to CPU."""
    return np.sin(phase, dtype=np.float64).astype(np.float32)


def _cos(phase: np.ndarray) -> np.ndarray:
    """See `_sin`."""
    return np.cos(phase, dtype=np.float64).astype(np.float32)


def _background(plan: VideoPlan, times_s: np.ndarray, size_px: int) -> np.ndarray:
    """Float32 (N, 3, H, W) in 0..255: two dim waves whose hue and direction change at each cut."""
    rng = np.random.default_rng(plan.seed)
    num_cuts = int(plan.duration_s // plan.scene_s) + 2
    num_scenes = num_cuts if plan.num_scenes is None else plan.num_scenes
    colour = rng.uniform(40, 120, (num_scenes, 1, 1, 3)).astype(np.float32)[:, 0, 0]
    wave = rng.normal(0, 1, (num_scenes, 2, 3)).astype(np.float32) * np.array([5.0, 5.0, 0.6], np.float32)
    tint = rng.uniform(-22, 22, (num_scenes, 2, 3)).astype(np.float32)
    scene = np.clip((times_s // plan.scene_s).astype(int), 0, num_cuts - 1)
    if plan.num_scenes is not None:  # each cut goes on by 1 to n - 1 places in the circle of scenes
        scene = np.cumsum(rng.integers(1, num_scenes, num_cuts))[scene] % num_scenes
    grid = np.linspace(0, 1, size_px, dtype=np.float32)
    frames = np.empty((len(times_s), 3, size_px, size_px), np.float32)
    frames[:] = colour[scene][:, :, None, None]
    for i in range(2):
        kx, ky, kt = (wave[scene, i, j, None] for j in range(3))
        phase_x, phase_y = kx * grid + (kt * times_s[:, None]).astype(np.float32), ky * grid
        sin_x, cos_x, sin_y, cos_y = (f(phase) for phase in (phase_x, phase_y) for f in (_sin, _cos))
        # sin(a + b) = sin a cos b + cos a sin b: 2 x size sines a frame instead of size squared
        pattern = sin_x[:, None, :] * cos_y[:, :, None]
        pattern += cos_x[:, None, :] * sin_y[:, :, None]
        for channel in range(3):
            frames[:, channel] += pattern * tint[scene, i, channel, None, None]
    return frames


def _clutter(plan: VideoPlan, times_s: np.ndarray, frames: np.ndarray) -> None:
    """Six small dim bars wander through the picture; drawn in place."""
    size_px = frames.shape[-1]
    rng = np.random.default_rng(plan.seed + 1)
    start, speed = rng.uniform(0, 1, (6, 2)), rng.normal(0, 0.03, (6, 2))
    extent = rng.uniform(0.04, 0.16, (6, 2))
    shade = (rng.uniform(25, 150, (6, 1)) + rng.uniform(-20, 20, (6, 3)))[:, :, None, None]
    width, height = (np.maximum(extent * size_px, 1)).astype(int).T
    corners = (((start + speed * times_s[:, None, None]) % 1.0) * size_px).astype(int)
    for frame, bars in zip(frames, corners.tolist(), strict=True):
        for i, (left, top) in enumerate(bars):
            frame[:, top : top + height[i], left : left + width[i]] = shade[i]


def _draw_event(frame: np.ndarray, event: Event, time_s: float) -> None:
    """Draws an event into a frame (3, H, W)."""
    size_px = frame.shape[-1]
    width_px = int(event.size * size_px)
    sprite = _sprite(event.kind, event.colour, event.label, width_px)
    x, y = event.x, event.y
    if event.kind == "ball":
        progress = (time_s - event.start_s) / (event.end_s - event.start_s) - 0.5
        dx, dy = _MOTION[event.label]
        x, y = 0.5 + 0.75 * dx * progress, 0.5 + 0.75 * dy * progress
    left, top = round(x * size_px - width_px / 2), round(y * size_px - width_px / 2)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width_px, size_px), min(top + width_px, size_px)
    patch = np.moveaxis(sprite[y0 - top : y1 - top, x0 - left : x1 - left], -1, 0)
    alpha = patch[3:] * event.opacity
    frame[:, y0:y1, x0:x1] = frame[:, y0:y1, x0:x1] * (1 - alpha) + patch[:3] * 255 * alpha


def render(plan: VideoPlan, times_s: np.ndarray, size_px: int) -> np.ndarray:
    """Draws the frames at the given times.

    Args:
        plan: what happens.
        times_s: (N,) seconds.
        size_px: height and width.

    Returns:
        uint8 (N, H, W, 3), whose memory is in the order (N, 3, H, W).
    """
    times_s = np.asarray(times_s, dtype=np.float64)
    frames = _background(plan, times_s, size_px)
    _clutter(plan, times_s, frames)
    for event in plan.events:
        for n in np.flatnonzero((times_s >= event.start_s) & (times_s < event.end_s)):
            _draw_event(frames[n], event, float(times_s[n]))
    return np.moveaxis(np.clip(frames, 0, 255, out=frames).astype(np.uint8), 1, -1)
