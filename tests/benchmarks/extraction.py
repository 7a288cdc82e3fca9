"""Extraction beside plain sequential decoding of the same files, in one process and one run.

    python tests/benchmarks/extraction.py [--videos 4] [--seconds 120]

*Plain* decodes every frame of each file in order with PyAV in this process, keeps one a second, and encodes nothing:
what a simple script does before its model has seen anything. *Extraction* is `datamodules.video.extraction.extract`
with two decoding processes, as recipes/data/extract.yaml runs it, encoder included. Both shrink frames to 224 px.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import av
import numpy as np
import torch

from datamodules.video import extraction
from datamodules.video.decode_pool import ReadRequest
from datamodules.video.decoding_settings import DecodingSettings
from datamodules.video.feature_store import FeatureStore
from datamodules.video.views import views_of
from modules.encoders.open_clip import OpenCLIPEncoder

FPS, SHORT_SIDE = 25, 224


def write_video(path: Path, seconds: int, seed: int) -> None:
    """640 x 360 H.264 with long groups of pictures: texture that drifts, and a box that moves."""
    rng = np.random.default_rng(seed)
    texture = rng.integers(0, 255, (360, 1280, 3), dtype=np.uint8)
    texture = texture // 4 + np.linspace(0, 160, 1280, dtype=np.uint8)[None, :, None]
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", FPS, options={"crf": "28", "g": "250", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for n in range(seconds * FPS):
            frame = texture[:, n % 640 : n % 640 + 640].copy()
            frame[100:160, n % 580 : n % 580 + 60] = (255, 40, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def plain(paths: list[Path]) -> int:
    """Frames kept by decoding everything in order."""
    kept = 0
    for path in paths:
        with av.open(path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for n, frame in enumerate(container.decode(stream)):
                if n % FPS == 0:
                    frame.to_ndarray(width=SHORT_SIDE * 16 // 9, height=SHORT_SIDE, format="rgb24")
                    kept += 1
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--questions", type=int, default=15, help="a video, as LVBench has")
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder = OpenCLIPEncoder(model="local-dir:recipes/haystack/weights/clip")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{n}.mp4" for n in range(options.videos)]
        for n, path in enumerate(paths):
            write_video(path, options.seconds, n)
        plain(paths[:1])
        start = time.perf_counter()
        kept = plain(paths)
        plain_rate = kept / (time.perf_counter() - start)

        decodes: Counter[str] = Counter()
        real = extraction.stream_many

        def counted(requests, *arguments, **more):  # what is asked of the decoders
            return real((decodes.update([r.path]) or r for r in requests), *arguments, **more)

        extraction.stream_many = counted
        store = FeatureStore(Path(folder) / "features", "fps=1")
        videos = [str(p) for p in paths for _ in range(options.questions)]  # one entry a question
        summary = extraction.extract(
            list(dict.fromkeys(videos)),
            views_of([(encoder, SHORT_SIDE)]),
            store,
            ReadRequest("", None, 1.0),
            DecodingSettings(on_bad_video="raise"),
        )
        print(f"plain sequential decoding   {plain_rate:7.1f} frames/s ({kept} frames)")
        print(f"extraction with encoder     {summary.frames_per_s:7.1f} frames/s ({summary.num_frames} frames)")
        print(f"ratio                       {summary.frames_per_s / plain_rate:7.2f}")
        print(f"decodes a video             {max(decodes.values())} for {options.questions} questions on each")


if __name__ == "__main__":
    main()
