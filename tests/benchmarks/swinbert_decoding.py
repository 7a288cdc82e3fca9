"""How long SwinBERT takes to write captions and to learn one, and what memory that takes, against other ways to do it.

    python tests/benchmarks/swinbert_decoding.py --beams 1 4

Writing: 20 words each of four clips, for each number of beams,

- *kept*: ours, with the keys of video and words kept;
- *recomputed*: the official code's way. It puts a mask token behind the words and runs text and video tokens through
  the encoder again, word by word; the backbone runs once in both;
- *transformers*: `generate` of a causal BERT of the same size, whose prompt are the same video tokens.

Learning: one update's forward and backward of four captions of each of four clips,

- *ours*: video tokens are read once a clip, text on their keys;
- *at once*: text and video tokens of each caption in one pass over the whole attention matrix, as in the official code.

A line each: seconds (median of 5), what the process grew by at its peak (MiB, of a run in a process of its own that
begins where a run has been before), and whether the same was written.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import torch  # noqa: E402
from swinbert_parts import RecomputedNextWords, clips, read_at_once, small_network  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402
from transformers import BertLMHeadModel  # noqa: E402

from modules.methods.swinbert.caption_search import greedy, search_beams, write_captions  # noqa: E402
from modules.methods.swinbert.swinbert_network import SwinBERT  # noqa: E402

_CLIPS, _WORDS, _CAPTIONS = 4, 20, 4


def measured(name: str, run: Callable[[], list[list[int]]], same_as: list[list[int]] | None = None) -> list[list[int]]:
    """Says what a way takes; what it wrote."""
    written, times = run(), []
    for _ in range(5):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    grown = grown_mib(run)
    same = "" if same_as is None else f", same captions: {written == same_as}"
    print(f"{name:28} {statistics.median(times):.3f} s, {grown:.1f} MiB{same}", flush=True)
    return written


def grown_mib(run: Callable[[], Any]) -> float:
    """By how much a process that does it grows beyond what it was."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run()
        os.write(writing, str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before).encode())
        os._exit(0)
    os.wait()
    return int(os.read(reading, 64)) / 1024


def causal_bert(network: SwinBERT) -> BertLMHeadModel:
    """transformers' own, of the size of a network's encoder."""
    config: Any = network.size.bert(len(network.tokenizer), network.pad_id)
    config.is_decoder, config.max_position_embeddings = True, 512
    return BertLMHeadModel(config).eval()


@torch.no_grad()
def decoding(network: SwinBERT, frames: Tensor, beams: int) -> None:
    """Three ways to write captions."""
    ends = {"start_id": network.start_id, "end_id": -1, "max_words": _WORDS}
    repeated, other = frames.repeat_interleave(beams, 0), causal_bert(network)

    def kept() -> list[list[int]]:
        return [ids.tolist() for ids in network.write(network.read(frames), max_words=_WORDS, num_beams=beams)]

    def recomputed() -> list[list[int]]:
        again = RecomputedNextWords(network, repeated)
        if beams == 1:
            return [ids.tolist() for ids in write_captions(again, _CLIPS, pick=greedy, **ends).ids]
        return [ids.tolist() for ids in search_beams(again, _CLIPS, num_beams=beams, **ends)]

    def by_transformers() -> list[list[int]]:
        video = network.encoder.video_out(network.encoder.video_in(network.backbone(frames)))
        ids = other.generate(
            inputs_embeds=video,
            attention_mask=torch.ones(video.shape[:2], dtype=torch.long),
            max_new_tokens=_WORDS,
            min_new_tokens=_WORDS,
            num_beams=beams,
            do_sample=False,
            pad_token_id=network.pad_id,
        )
        assert ids.shape[1] == _WORDS
        return ids.tolist()

    ours = measured(f"{beams} beams, kept", kept)
    measured(f"{beams} beams, recomputed", recomputed, ours)
    measured(f"{beams} beams, transformers", by_transformers)


def training(network: SwinBERT, frames: Tensor) -> None:
    """Two ways to an update's gradient."""
    ids = torch.randint(5, len(network.tokenizer), (_CLIPS * _CAPTIONS, _WORDS))
    chosen = torch.zeros(ids.shape, dtype=torch.bool)
    chosen[:, ::2] = True

    def step(logits: Tensor) -> list[list[int]]:
        functional.cross_entropy(logits, ids[chosen]).backward()
        network.zero_grad()
        return []

    def ours() -> list[list[int]]:
        return step(network.word_logits(ids, network.read(frames).repeated(_CAPTIONS), chosen))

    def at_once() -> list[list[int]]:
        states = read_at_once(network, frames.repeat_interleave(_CAPTIONS, 0), ids)
        return step(network.encoder.logits(states[:, :_WORDS][chosen]))

    measured("an update, ours", ours)
    measured("an update, at once", at_once)


def main() -> None:
    """Measures each number of beams, then an update."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size-px", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = small_network(num_frames=options.frames, size_px=options.size_px, width=96)
    frames = clips(_CLIPS, options.frames, options.size_px)
    network.end_id = -1  # no caption ends early, so that all ways write as many words
    print(f"{network.grid(options.frames).num_tokens} video tokens")
    for beams in options.beams:
        decoding(network, frames, beams)
    training(network, frames)


if __name__ == "__main__":
    main()
