"""What a stream takes against its length: memory of two ways to read it, seconds to encode it, and to ask about it.

    OMP_NUM_THREADS=1 python tests/benchmarks/streaming.py --seconds 600 3600 32400

Videos of the Haystack world (64 px, 2 frames a second, one candidate a second) are written below --folder once. Each
measurement is a process of its own. *Extraction* is the data module's, from file to feature store, and *stream* is
recipes/stream.yaml; both with the shipped condenser. Memory is the peak of resident memory of the process, with torch
and everything else; of the process that decodes for it, which holds the table of the file's packets, beside it.
Seconds are the processor's, without the decoder's. *A question* is the choice of 4 memories and the answer on them,
from stored memories (median of 15), and the same with the encoding before it, as if memories were made anew for
each question.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

QUESTION = "What colour is the star?"
WEIGHTS = "recipes/haystack/weights"


def write(path: Path, seconds: int) -> None:
    """Writes a video, unless it is there."""
    from datamodules.haystack.video_writing import write_video
    from datamodules.haystack.world import World

    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        world = World(seed=3, duration_s=float(seconds), fps=2, size_px=64, event_duration_s=(2.0, 3.0))
        write_video(path, world, "test", 0)


def condenser():
    """The shipped one, as recipes/videostreaming.yaml has it."""
    from modules.methods.videostreaming.condenser import ClipCondenser
    from modules.methods.videostreaming.language_layers import LanguageLayers

    layers = LanguageLayers(path=f"{WEIGHTS}/vlm", num_layers=2)
    return ClipCondenser(layers=layers, token_dim=512, summaries_per_frame=1, time_prompt="{history} {start} {end}")


class Watch:
    """Peaks of resident memory (MiB) of a process and of the one that decodes for it, while they run.

    Args:
        pid: of the process.
    """

    def __init__(self, pid: int) -> None:
        self.pid, self.own, self.decoder = pid, 0.0, 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            with contextlib.suppress(OSError):
                self.own = max(self.own, _peak_mib(self.pid))
                for file in Path(f"/proc/{self.pid}/task").glob("*/children"):
                    decoders = [pid for pid in map(int, file.read_text().split()) if _decodes(pid)]
                    self.decoder = max([self.decoder, *map(_peak_mib, decoders)])


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def _decodes(pid: int) -> bool:
    return b"serve" in Path(f"/proc/{pid}/cmdline").read_bytes()


def extraction(video: str) -> dict[str, float]:
    """Memory and seconds from file to feature store."""
    import torch

    from datamodules.questions.given import GivenQuestions
    from datamodules.video.decoding_settings import DecodingSettings
    from modules.methods.videostreaming.frame_tokens import MergedPatches
    from modules.methods.videostreaming.memories import ClipMemories
    from modules.records import VideoQuestion

    torch.set_num_threads(1)
    weights = f"{WEIGHTS}/videostreaming.int8.safetensors"
    encoder = ClipMemories(patches=MergedPatches(path=f"{WEIGHTS}/vlm"), condenser=condenser(), weights=weights)
    question = VideoQuestion("benchmark", "test", "q", video, 0.0, QUESTION, ("red", "green", "blue", "white"))
    with tempfile.TemporaryDirectory() as store:
        decoding = DecodingSettings(num_workers=1)
        data = GivenQuestions(questions=[question], encoder=encoder, feature_dir=store, decoding=decoding)
        with Watch(os.getpid()) as watch:
            started = time.process_time()
            summary = data.extract([], ["test"])
            seconds = time.process_time() - started
        data.teardown("test")
        batch = data.batch_of([question])
        return {
            "own": watch.own,
            "decoder": watch.decoder,
            "frames": summary.num_frames,
            "clips": len(batch.candidates[0]),
            "stored_mib": sum(f.stat().st_size for f in Path(store).rglob("*.safetensors")) / 2**20,
            "encode_s": seconds,
            "ask_s": asked(batch, data),
        }


def asked(batch, data) -> float:
    """Median processor seconds of a question on memories that are there."""
    import dataclasses

    import torch

    from modules.methods.videostreaming.memory_reader import MemoryReader
    from modules.methods.videostreaming.memory_selection import MemorySelection
    from modules.mllms.prompt import Prompt
    from modules.systems.answering import Answering
    from modules.systems.base import Setting
    from modules.systems.sampler_system import SamplerSystem

    weights = f"{WEIGHTS}/videostreaming.int8.safetensors"
    prompt = Prompt(answer_with="words", question_first=True)
    reader = MemoryReader(path=f"{WEIGHTS}/vlm", memory_dim=128, memory_tokens=16, weights=weights, prompt=prompt)
    system = SamplerSystem(sampler=MemorySelection(condenser=condenser(), weights=weights)).eval()
    system.prepare("selection", Setting(answering=Answering(reader.eval(), canary=False), num_frames=4), {})
    seconds = []
    with torch.no_grad():
        for _ in range(18):
            again = dataclasses.replace(batch)  # a policy is kept for the batch it is of
            started = time.process_time()
            system.answer(again, data)
            seconds.append(time.process_time() - started)
    return statistics.median(seconds[3:])


def stream(video: str, seconds: int) -> dict[str, float]:
    """Memory of the recipe's process, in which a question is asked at the end."""
    with tempfile.TemporaryDirectory() as run_dir:
        words = ["--checkpoint", "null", "--video", video, "--question", QUESTION, "--at", str(seconds)]
        command = [sys.executable, "-m", "recipes", "run", "recipes/stream.yaml", *words, "--run_dir", run_dir]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."})
        assert process.stdout is not None
        with Watch(process.pid) as watch:
            printed = process.stdout.read()
        assert process.wait() == 0, printed
    return {"own": watch.own, "decoder": watch.decoder, "clips": printed.count("\nclip ")}


def in_own_process(*words: str) -> dict[str, float]:
    command = [sys.executable, __file__, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."})
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, nargs="+", default=[600, 3600])
    parser.add_argument("--folder", default="build/streaming")
    parser.add_argument("--extract", help=argparse.SUPPRESS)
    parser.add_argument("--write", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = Path(options.folder)
    if options.write:
        write(folder / f"{options.write}.mp4", options.write)
    elif options.extract:
        print(json.dumps(extraction(options.extract)))
    else:
        table(folder, options.seconds)


def table(folder: Path, lengths: list[int]) -> None:
    """Prints a row a length."""
    print(f"{'':24} | {'extraction':^19} | {'stream':^19} |")
    print(
        f"{'video':>8} {'clips':>5} {'stored':>9} | {'process':>9} {'decoder':>9} | {'process':>9} {'decoder':>9} | "
        f"{'encode':>8} {'a clip':>8} {'question':>9} {'with encoding':>13}"
    )
    for seconds in lengths:
        video = folder / f"{seconds}.mp4"
        subprocess.run(
            [sys.executable, __file__, "--folder", str(folder), "--write", str(seconds)],
            check=True,
            env={**os.environ, "PYTHONPATH": "."},
        )
        made, played = in_own_process("--extract", str(video)), stream(str(video), seconds)
        assert made["clips"] == played["clips"], (made, played)
        memory = " | ".join(f"{one['own']:>5.0f} MiB {one['decoder']:>5.0f} MiB" for one in (made, played))
        print(
            f"{seconds:>6} s {made['clips']:>5.0f} {made['stored_mib']:>5.1f} MiB | {memory} | "
            f"{made['encode_s']:>6.1f} s {1000 * made['encode_s'] / made['clips']:>5.1f} ms "
            f"{1000 * made['ask_s']:>6.1f} ms {made['encode_s'] + made['ask_s']:>11.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
