"""What ReFoCUS's two passes cost: rollout and update against T and K, and beside one pass step by step with graph.

python tests/benchmarks/refocus.py

Each measurement is a process of its own, so that its memory is its own: the peak of resident memory above what it was
when everything was built. The one pass keeps the graph of every draw and goes backward through all of them; ours draws
without graph and computes all draws again at once. (transformers' Mamba-2 overwrites its state in a single step, so
there is no graph to keep.)
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import subprocess
import sys
import time

CASES = (
    ("gru", 128, 8),
    ("gru", 512, 8),
    ("gru", 2048, 8),
    ("gru", 4096, 8),
    ("gru", 512, 4),
    ("gru", 512, 16),
    ("gru", 512, 32),
    ("gru", 512, 64),
    ("transformer", 512, 8),
    ("transformer", 512, 32),
    ("transformer", 4096, 8),
    ("mamba2", 512, 8),
    ("mamba2", 512, 32),
    ("mamba2", 4096, 8),
)


def step_by_step(policy, num_frames: int, num_rollouts: int):
    """Log-probabilities of draws, (B, G, K), with the graph of each."""
    import torch

    query, state = policy.decoder.start(num_rollouts)
    left = policy.mask[:, None].repeat(1, num_rollouts, 1)
    log_probs = []
    for k in range(num_frames):
        log_p = policy._logits(query).masked_fill(~left, -1e30).log_softmax(-1)
        pick = torch.distributions.Categorical(logits=log_p.detach()).sample()
        log_probs.append(log_p.gather(-1, pick[..., None])[..., 0])
        left = left.scatter(-1, pick[..., None], False)
        if k + 1 < num_frames:
            query, state = policy.decoder.step(pick, state)
    return torch.stack(log_probs, -1)


def measure(backbone: str, num_candidates: int, num_frames: int, options: argparse.Namespace) -> None:
    """Prints median seconds of prefix, rollout and update, and MiB."""
    import torch

    from modules.methods.refocus.backbones.gru import GRUBackbone
    from modules.methods.refocus.backbones.mamba2 import Mamba2Backbone
    from modules.methods.refocus.backbones.transformer import TransformerBackbone
    from modules.methods.refocus.pointer_decoder import ReFoCUSSampler

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    kinds = {"gru": GRUBackbone, "mamba2": Mamba2Backbone, "transformer": TransformerBackbone}
    sampler = ReFoCUSSampler(dim=options.width, backbone=kinds[backbone](width=options.width))

    def once(length: int) -> list[float]:
        mask = torch.ones(options.questions, length, dtype=torch.bool)
        features, query = torch.randn(*mask.shape, options.width), torch.randn(options.questions, 1, options.width)
        times = [time.perf_counter()]
        policy = sampler(features, mask, mask.float(), query)
        times.append(time.perf_counter())
        if options.step_by_step:
            loss = step_by_step(policy, num_frames, options.rollouts).mean()
            times.append(time.perf_counter())
        else:
            drawn = policy.sample(num_frames, options.rollouts)
            times.append(time.perf_counter())
            loss = policy.log_prob(drawn.candidate_index).mean()
        loss.backward()
        times.append(time.perf_counter())
        return [after - before for before, after in itertools.pairwise(times)]

    once(num_frames)  # libraries load before memory is counted
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = zip(*[once(num_candidates) for _ in range(3)], strict=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(*(f"{statistics.median(part):.5f}" for part in seconds), (peak - before) // 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--questions", type=int, default=2)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--one", nargs=3, help="measure this backbone, T and K only, in this process")
    parser.add_argument("--step-by-step", action="store_true")
    options = parser.parse_args()
    if options.one:
        measure(options.one[0], int(options.one[1]), int(options.one[2]), options)
        return
    print(
        f"{options.questions} questions of {options.rollouts} rollouts, width {options.width}, float32, "
        f"{options.threads} threads; milliseconds, MiB; last: step by step with graph / ours (without prefix)"
    )
    columns = ("backbone", "T", "K", "prefix", "rollout", "update", "memory", "time", "memory")
    print("".join(f"{name:>12}" for name in columns))
    for case in CASES:
        words = [sys.executable, __file__, "--one", *map(str, case)]
        for name in ("threads", "width", "questions", "rollouts"):
            words += [f"--{name}", str(getattr(options, name))]
        prefix, rollout, update, memory = _numbers(words)
        cells = [*case, *(f"{1e3 * s:.1f}" for s in (prefix, rollout, update)), f"{memory:.0f}"]
        if case[0] != "mamba2":
            _, naive, backward, naive_memory = _numbers([*words, "--step-by-step"])
            cells += [f"{(naive + backward) / (rollout + update):.2f}", f"{naive_memory / max(memory, 1):.2f}"]
        print("".join(f"{cell:>12}" for cell in cells), flush=True)


def _numbers(words: list[str]) -> list[float]:
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return [float(word) for word in out.split()]


if __name__ == "__main__":
    main()
