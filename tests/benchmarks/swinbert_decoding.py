"""How long SwinBERT takes to write captions with kept keys, and when everything is read again for every word.

    python tests/benchmarks/swinbert_decoding.py --beams 1 4

The official code puts a mask token behind the words and runs text and video tokens through the encoder again, word by
word; the backbone runs once in both. A line for each number of beams: seconds of 20 words each way (median of 5), their
ratio, and whether both wrote the same.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import torch  # noqa: E402
from swinbert_parts import RecomputedNextWords, clips, small_network  # noqa: E402
from torch import Tensor  # noqa: E402

from modules.methods.swinbert.caption_search import greedy, search_beams, write_captions  # noqa: E402


def median_s(write: Callable[[], list[Tensor]]) -> tuple[float, list[Tensor]]:
    """Seconds, and what was written."""
    times, written = [], write()
    for _ in range(5):
        started = time.perf_counter()
        written = write()
        times.append(time.perf_counter() - started)
    return statistics.median(times), written


@torch.no_grad()
def main() -> None:
    """Measures each number of beams."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size-px", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = small_network(num_frames=options.frames, size_px=options.size_px, width=96)
    frames, num_videos = clips(4, options.frames, options.size_px), 4
    network.end_id = -1  # no caption ends early, so that both ways write as many words
    ends = {"start_id": network.start_id, "end_id": -1, "max_words": 20}
    for beams in options.beams:
        repeated = frames.repeat_interleave(beams, 0)

        def fast(beams: int = beams) -> list[Tensor]:
            return network.write(network.read(frames), max_words=20, num_beams=beams)

        def slow(beams: int = beams, repeated: Tensor = repeated) -> list[Tensor]:
            again = RecomputedNextWords(network, repeated)
            if beams == 1:
                return write_captions(again, num_videos, pick=greedy, **ends).ids
            return search_beams(again, num_videos, num_beams=beams, **ends)

        (fast_s, ours), (slow_s, theirs) = median_s(fast), median_s(slow)
        same = [i.tolist() for i in ours] == [i.tolist() for i in theirs]
        tokens = network.grid(options.frames).num_tokens
        print(
            f"{tokens} video tokens, {beams} beams: kept {fast_s:.3f} s, recomputed {slow_s:.3f} s, ratio "
            f"{slow_s / fast_s:.1f}, same captions: {same}",
            flush=True,
        )


if __name__ == "__main__":
    main()
