"""What each form of SwinBERT's sparse mask learns on a task that needs one video-video link.

    python tests/benchmarks/swinbert_links.py --seeds 0 1 2

The task is that of tests/linked_tokens.py: chance is 0.25, one of 132 links is needed. A line for each mask and seed:
share right of 1024 fresh examples, rank of the needed link, mean of the links, share above 0.5. Binary masks take the
strongest links of the log mask of the same seed, with 200 updates of tuning behind.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import torch  # noqa: E402
from linked_tokens import LinkedTokens, train_on_links  # noqa: E402

from modules.methods.swinbert.video_masks import AdditiveMask, BinaryMask, FullMask, IdentityMask, LogMask, VideoMask  # noqa: E402


def told(name: str, seed: int, task: LinkedTokens, accuracy: float) -> str:
    """A line of the table."""
    links = task.network.mask.links(task.grid).detach()
    off = links[~torch.eye(len(links), dtype=torch.bool)]
    rank = task.rank_of_link()
    mean, above = off.mean(), (off > 0.5).float().mean()
    return f"{name:24} seed {seed}  right {accuracy:.3f}  rank {rank:3d}  mean {mean:.3f}  above 0.5 {above:.3f}"


def main() -> None:
    """Trains every mask with every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    for seed in seeds:
        masks: dict[str, VideoMask] = {
            "full": FullMask(),
            "identity": IdentityMask(),
            "additive (official)": AdditiveMask(),
            "log, from N(0, 1)": LogMask(initial_logit=None),
            "log, from 2": LogMask(),
        }
        for name, mask in masks.items():
            task, accuracy = train_on_links(mask, seed)
            print(told(name, seed, task, accuracy), flush=True)
        for budget in (0.2, 0.05, 0.01):
            tuned, accuracy = train_on_links(BinaryMask(budget_frac=budget), seed, start=task, num_steps=200)
            print(told(f"binary, {budget:.0%} of the links", seed, tuned, accuracy), flush=True)


if __name__ == "__main__":
    main()
