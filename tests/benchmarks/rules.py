"""Milliseconds that each rule takes for a question, at T = 600, 3 600 and 32 550 candidates, on one thread.

python tests/benchmarks/rules.py [--num_frames 8] [--only NAME ...]

Features are 512 wide, of scenes of 20 frames, scores given: what a scorer takes is not counted. Seconds are the
process's own, so that what else the machine does matters little; the median of three questions, after one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

LENGTHS, WIDTH = (600, 3600, 32550), 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_frames", type=int, nargs="*", default=[8, 64])
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # before the libraries load

    import torch

    from modules.methods.training_free import rated_frames
    from modules.methods.training_free.aks import AKS
    from modules.methods.training_free.bin_max import BinMax
    from modules.methods.training_free.bolt import BOLT
    from modules.methods.training_free.dig import DIG
    from modules.methods.training_free.dpp import DPP
    from modules.methods.training_free.facility_location import FacilityLocation
    from modules.methods.training_free.farthest_first import FarthestFirst
    from modules.methods.training_free.focus import FOCUS
    from modules.methods.training_free.ktv import KTV
    from modules.methods.training_free.max_info import MaxInfo
    from modules.methods.training_free.mdp3 import MDP3
    from modules.methods.training_free.mmr import MMR
    from modules.methods.training_free.q_frame import QFrame
    from modules.methods.training_free.wfs_sb import WFSSB

    torch.set_num_threads(1)
    scored = (BinMax(), AKS(), BOLT(), QFrame(), FOCUS(), WFSSB(), MMR(), MDP3(), DPP(), DIG())
    rules = (*scored, MaxInfo(), KTV(), FacilityLocation(), FarthestFirst())
    print(
        f"{'ms a question, D=512':24}" + "".join(f"{f'T={t} K={k}':>15}" for k in options.num_frames for t in LENGTHS)
    )
    for rule in rules:
        name = type(rule).__name__
        if options.only and name not in options.only:
            continue
        cells = []
        for num_frames in options.num_frames:
            for total in LENGTHS:
                generator = torch.Generator().manual_seed(total)
                scene = torch.arange(total) // 20
                features = torch.randn(total // 20 + 1, WIDTH, generator=generator)[scene]
                features += 0.3 * torch.randn(total, WIDTH, generator=generator)
                scores = torch.randn(total // 20 + 1, generator=generator)[scene]
                scores += 0.3 * torch.randn(total, generator=generator)
                took_s = []
                for number in range(4):
                    frames = rated_frames.RatedFrames.of(scores, features, seed=number)
                    started = time.process_time()
                    rule.select(frames, num_frames)
                    took_s.append(time.process_time() - started)
                cells.append(f"{statistics.median(took_s[1:]) * 1e3:>15.1f}")
        print(f"{name:24}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
