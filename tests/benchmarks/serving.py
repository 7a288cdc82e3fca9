"""What `lightning serve` takes: seconds to an answer, answers a second, memory; and what is sent to a server behind it.

    OMP_NUM_THREADS=1 python tests/benchmarks/serving.py --folder data/serving

`recipes/serve.yaml` with the small stack, in a process of its own, on Haystack videos of ten minutes (600 candidates),
four options, eight frames. *First* is the first question on a video that nobody has asked about, *later* one after
another on known videos; then so many clients at a time, each of which asks its next question when it has its answer.
The clients and the server share the machine. *Processor* is what the server and its decoding processes take of it for a
question, which a busy machine does not change. Memory is the server's own, at rest and at its peak; its decoding
processes are beside it.

*Behind* is a small server that answers at once, so that what is measured is choosing, encoding as JPEG and sending:
eight chosen frames against 64 evenly spaced ones, of a video of 256 px a side and 150 s. Bytes are those of the whole
request.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from pathlib import Path

import httpx2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from serving_process import ServingProcess, serving
from serving_requests import OPTIONS, request_of
from video_chat_server import VideoChatServer

QUESTIONS = [f"What colour is the {shape}?" for shape in ("star", "circle", "square", "triangle", "cross")]


def write_videos(folder: Path, count: int, size_px: int, duration_s: float) -> list[str]:
    """Names of videos, written unless they are there."""
    from datamodules.haystack.video_writing import write_video
    from datamodules.haystack.world import World

    names = [f"{size_px}px-{duration_s:g}s-{n}.mp4" for n in range(count)]
    for n, name in enumerate(names):
        if not (folder / name).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            world = World(seed=11, duration_s=duration_s, fps=2, size_px=size_px, event_duration_s=(2.0, 3.0))
            write_video(folder / name, world, "test", n)
    return names


def ask(client: httpx2.Client, video: str, number: int, **more: object) -> tuple[float, dict]:
    """Seconds to an answer, and the answer."""
    own = {"num_frames": 8, "options": OPTIONS, **more}
    question = f"{QUESTIONS[number % len(QUESTIONS)]} ({number})"
    started = time.perf_counter()
    reply = client.post("/v1/chat/completions", json=request_of(video, question, kairos=own))
    reply.raise_for_status()
    return time.perf_counter() - started, reply.json()


def many(address: str, videos: list[str], clients: int, count: int) -> tuple[list[float], float, float]:
    """Seconds of each of so many questions by so many clients, of all, and how many were answered together."""
    seconds: list[float] = []
    together: list[int] = []
    numbers, lock = iter(range(count)), threading.Lock()

    def run() -> None:
        with httpx2.Client(base_url=address, timeout=600) as client:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                took, reply = ask(client, videos[number % len(videos)], number)
                with lock:
                    seconds.append(took)
                    together.append(reply["kairos"]["together"])

    threads = [threading.Thread(target=run) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds, time.perf_counter() - started, statistics.mean(together)


def row(name: str, seconds: list[float], more: str) -> str:
    """A line of the table."""
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    return f"| {name} | {len(seconds)} | {statistics.median(seconds):.2f} | {p95:.2f} | {more} |"


def measure_local(process: ServingProcess, videos: list[str], count: int) -> None:
    """First and later questions, and several clients."""
    address = process.address
    print(f"at rest {process.resident_mib():.0f} MiB", flush=True)
    print("| | questions | p50 s | p95 s | processor s | answers a second | together | MiB |\n|---|" + "---|" * 7)
    with httpx2.Client(base_url=address, timeout=600) as client:
        ask(client, videos[-1], 0)  # the check that frames reach the model, and a decoding process that has started
        before = process.processor_s()
        first = [ask(client, video, n)[0] for n, video in enumerate(videos[:-1])]
        took = (process.processor_s() - before) / len(first)
    print(row("first on a video", first, f"{took:.2f} | - | 1 | {process.resident_mib():.0f}"), flush=True)
    for clients in (1, 8, 32):
        before = process.processor_s()
        seconds, whole, together = many(address, videos[:3], clients, count)
        took = (process.processor_s() - before) / len(seconds)
        more = f"{took:.2f} | {len(seconds) / whole:.1f} | {together:.1f} | {process.resident_mib():.0f}"
        print(row(f"later, {clients} clients" if clients > 1 else "later, 1 client", seconds, more), flush=True)
    peak = next(
        line
        for line in httpx2.get(f"{address}/metrics").text.splitlines()
        if line.startswith("kairos_memory_peak_bytes ")
    )
    print(f"peak {float(peak.split()[1]) / 2**20:.0f} MiB")


def measure_behind(folder: Path, videos: list[str], count: int) -> None:
    """Eight chosen frames against 64 even ones, in both forms."""
    print("| frames | form | KiB a request | p50 ms | p95 ms |\n|---|---|---|---|---|")
    for kind in ("reads times", "images only"):
        behind = VideoChatServer(kind)  # type: ignore[arg-type]
        with (
            serving(["--video_root", "videos", "--upstream", behind.url], folder) as process,
            httpx2.Client(base_url=process.address, timeout=600) as client,
        ):
            for video in videos:
                ask(client, video, 0)
            for model, num_frames in (("sampler", 8), ("uniform", 64)):
                took, sizes, form = [], [], ""
                for n in range(count):
                    body = request_of(videos[n % len(videos)], QUESTIONS[n % 5], kairos={"num_frames": num_frames})
                    started = time.perf_counter()
                    reply = client.post("/v1/chat/completions", json={**body, "model": model})
                    reply.raise_for_status()
                    took.append(1000 * (time.perf_counter() - started))
                    told = reply.json()["kairos"]["upstream"]
                    sizes.append(told["bytes"] / 1024)
                    form = told["frames_as"]
                    assert len(json.loads(reply.json()["choices"][0]["message"]["content"])["times_s"]) == num_frames
                ordered = sorted(took)
                p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
                name = f"{num_frames} by {model}"
                print(
                    f"| {name} | {form} | {statistics.mean(sizes):.0f} | {statistics.median(took):.0f} | {p95:.0f} |",
                    flush=True,
                )
        behind.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("data/serving"), help="for videos; features are made anew")
    parser.add_argument("--videos", type=int, default=6)
    parser.add_argument("--questions", type=int, default=96, help="of each number of clients")
    parser.add_argument("--parts", nargs="+", default=["local", "behind"], choices=["local", "behind"])
    options = parser.parse_args()
    folder = options.folder.absolute()
    if "local" in options.parts:
        videos = write_videos(folder / "videos", options.videos, 64, 600.0)
        fresh = f"features-{time.time_ns()}"
        with serving(["--video_root", "videos", "--features", fresh], folder) as process:
            measure_local(process, videos, options.questions)
    if "behind" in options.parts:
        measure_behind(folder, write_videos(folder / "videos", 1, 256, 150.0), 20)


if __name__ == "__main__":
    main()
