"""Forward time and memory of the TSPO agent at T = 128, 3 600 and 32 550, each in a process of its own.

python tests/benchmarks/sampler.py
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

LENGTHS = (128, 3600, 32550)


def measure(length: int, dense: bool, threads: int) -> None:
    """Prints median seconds, and the peak of resident memory above what it was before the forward (MiB)."""
    import torch

    from modules.methods.tspo.agent import TSPOSampler

    sys.path.insert(0, os.path.dirname(__file__))
    from step import dense_scores

    torch.set_num_threads(threads)
    agent = TSPOSampler()
    mask = torch.ones(1, length, dtype=torch.bool)
    features, query, times = torch.randn(1, length, 768), torch.randn(1, 1, 768), torch.zeros(1, length)
    with torch.no_grad():
        agent.scores(features[:, :64], mask[:, :64], times[:, :64], query)  # libraries load before memory is counted
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            dense_scores(agent, features, query) if dense else agent.scores(features, mask, times, query)
            seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{statistics.median(seconds):.4f} {(peak - before) / 1024:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", type=int, help="measure this length only, in this process")
    parser.add_argument("--dense", action="store_true")
    options = parser.parse_args()
    if options.one:
        measure(options.one, options.dense, options.threads)
        return
    print(f"D=768, float32, {options.threads} threads; memory beyond the inputs")
    print(f"{'T':>8}{'banded':>12}{'memory':>12}{'dense':>12}{'memory':>12}")
    for length in LENGTHS:
        cells = []
        for dense in (False, True):
            if dense and length > 3600:
                cells.append(f"{'(79 GiB)':>24}")
                continue
            words = [sys.executable, __file__, "--one", str(length), "--threads", str(options.threads)]
            out = subprocess.run([*words, "--dense"] if dense else words, capture_output=True, text=True, check=True)
            seconds, mib = out.stdout.split()
            cells.append(f"{float(seconds) * 1e3:>9.1f} ms{mib:>8} MiB")
        print(f"{length:>8}" + "".join(cells))


if __name__ == "__main__":
    main()
