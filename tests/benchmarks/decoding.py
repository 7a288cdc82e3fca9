"""Decoding chosen frames, beside PyAV in sequence, decord and torchcodec: frames a second by resolution and GOP.

    python tests/benchmarks/decoding.py [--folder DIR] [--repeats 3] [--sizes 360 720 1080] [--gops 25 250]

*extraction*: one frame a second, 224 px, ours with its probe; *8* and *64*: random frames at full size, ours with the
packet table at hand, as a training step has it. Every library gets one thread, opens the file anew, and hands over
uint8 RGB in one process; decord and torchcodec are left out where they do not load. They take turns and the best of the
repeats counts; *ours is times as fast* compares seconds of CPU, which a busy machine disturbs least. *differs*: mean
absolute difference of the pixels from PyAV in sequence; libraries resize differently, at full size it must be 0.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from datamodules.video.video_info import VideoInfo, candidate_grid, probe, read_frames

FPS, SHORT_SIDE = 25, 224
SECONDS = {360: 60, 720: 60, 1080: 20}
Frames = np.ndarray
"""uint8 (n, H, W, 3)."""


def write_video(path: Path, height: int, gop: int, seconds: int) -> None:
    """H.264 as x264 makes it, with B-frames: texture that drifts, noise, and a box that moves."""
    width, rng = height * 16 // 9, np.random.default_rng(0)
    texture = rng.integers(0, 64, (height // 4, width // 2, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    texture = texture + np.linspace(0, 160, 2 * width, dtype=np.uint8)[None, :, None]
    with av.open(path, "w") as container:
        options = {"crf": "26", "g": str(gop), "keyint_min": str(gop), "preset": "fast", "sc_threshold": "0"}
        stream = container.add_stream("libx264", FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n in range(seconds * FPS):
            frame = texture[:, n % width : n % width + width].copy()
            frame[height // 4 : height // 2, (5 * n) % (width - 60) :][:, :60] = (255, 40 + n % 200, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def in_sequence(path: str, frame_ids: np.ndarray, size: tuple[int, int]) -> Frames:
    """PyAV as a plain script uses it."""
    wanted, out = set(frame_ids.tolist()), []
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for n, frame in enumerate(container.decode(stream)):
            if n in wanted:
                out.append(frame.to_ndarray(width=size[0], height=size[1], format="rgb24"))
            if len(out) == len(wanted):
                break
    return np.stack(out)


def with_decord(path: str, frame_ids: np.ndarray, size: tuple[int, int]) -> Frames:
    import decord

    reader = decord.VideoReader(path, num_threads=1, width=size[0], height=size[1])
    return reader.get_batch(frame_ids.tolist()).asnumpy()


def with_torchcodec(path: str, frame_ids: np.ndarray, size: tuple[int, int]) -> Frames:
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    resize = [Resize(size[::-1])] if min(size) == SHORT_SIDE else None
    decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1, transforms=resize)
    return decoder.get_frames_at(frame_ids.tolist()).data.numpy()


def others() -> dict[str, Callable[[str, np.ndarray, tuple[int, int]], Frames]]:
    """What loads here."""
    found = {"PyAV in sequence": in_sequence}
    for name, read in (("decord", with_decord), ("torchcodec", with_torchcodec)):
        try:
            __import__(f"{name}.decoders" if name == "torchcodec" else name)
        except (ImportError, OSError, RuntimeError) as error:
            print(f"{name} does not load: {str(error).strip().splitlines()[0]}")
        else:
            found[name] = read
    return found


def ours(info: VideoInfo | None, path: str, frame_ids: np.ndarray, short_side_px: int | None) -> Frames:
    """What a worker does for a request, without the way between processes."""
    return np.concatenate(list(read_frames(info or probe(path), frame_ids, short_side_px)))


def measure(
    path: str, frame_ids: np.ndarray, short_side_px: int | None, repeats: int
) -> dict[str, tuple[float, float, float]]:
    """By library: seconds by the clock, of CPU, and mean absolute difference from PyAV in sequence."""
    info = probe(path)
    size = (info.width, info.height)
    if short_side_px is not None:
        size = (round(info.width * short_side_px / info.height), short_side_px)
    reads: dict[str, Callable[[], Frames]] = {
        "ours": lambda: ours(None if short_side_px else info, path, frame_ids, short_side_px)
    }
    reads |= {name: lambda read=read: read(path, frame_ids, size) for name, read in others().items()}
    clock: dict[str, list[float]] = {name: [] for name in reads}
    cpu: dict[str, list[float]] = {name: [] for name in reads}
    frames: dict[str, Frames] = {}
    for _ in range(repeats):
        for name, read in reads.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            frames[name] = read()
            clock[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - start_cpu)
    truth = frames["PyAV in sequence"].astype(np.int16)
    return {n: (min(clock[n]), min(cpu[n]), float(np.abs(truth - frames[n]).mean())) for n in reads}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="keep the files here, to be used again")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[360, 720, 1080])
    parser.add_argument("--gops", type=int, nargs="+", default=[25, 250])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        print("| file | frames | by | s | s of CPU | frames/s of CPU | ours is times as fast | differs |")
        print("|---|---|---|---|---|---|---|---|")
        for height in options.sizes:
            for gop in options.gops:
                path = folder / f"{height}p-{gop}.mp4"
                if not path.exists():
                    write_video(path, height, gop, SECONDS[height])
                report(str(path), options.repeats)


def report(path: str, repeats: int) -> None:
    """The rows of one file."""
    info, rng = probe(path), np.random.default_rng(1)
    tasks: list[tuple[str, np.ndarray, int | None]] = [("extraction", candidate_grid(info), SHORT_SIDE)]
    tasks += [(str(n), np.sort(rng.choice(info.num_frames, n, replace=False)), None) for n in (8, 64)]
    for task, frame_ids, short_side_px in tasks:
        rows = measure(path, frame_ids, short_side_px, repeats)
        for name, (clock_s, cpu_s, differs) in rows.items():
            rate, ratio = len(frame_ids) / cpu_s, cpu_s / rows["ours"][1]
            row = f"{clock_s:.3f} | {cpu_s:.3f} | {rate:.1f} | {ratio:.2f} | {differs:.2f}"
            print(f"| {Path(path).stem} | {task} | {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
