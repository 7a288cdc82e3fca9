"""Train, validation and test from one file: by video, so that no video is in two of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

SPLITS = ("train", "val", "test")
Shares = tuple[float, float, float]
"""Of train, val and test."""


def refuse_shares(shares: Shares) -> None:
    """Shares are 0 or more and make one whole.

    Raises:
        ValueError: these are not, or do not.
    """
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"split_shares={list(shares)}: shares of train, val and test, 0 or more, that add up to 1")


def split_of_videos(names: Iterable[str], shares: Shares, seed: int) -> dict[str, str]:
    """The split of every video, the same whenever the same videos are asked for.

    Videos are put in the order of ``SHA-256(seed/name)``; the first of that order are tested on, the next ones are
    validated on. A split with a share has at least one video.

    Args:
        names: of the videos, as often as they occur.
        shares: of train, val and test.
        seed: another one gives another order.

    Raises:
        ValueError: there are too few videos for every split to have one.
    """
    videos = sorted(set(names), key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    sizes = {
        split: max(1, round(share * len(videos))) if share else 0
        for split, share in zip(SPLITS, shares, strict=True)
        if split != "train"
    }
    num_train = len(videos) - sum(sizes.values())
    if num_train < (1 if shares[0] else 0):
        raise ValueError(
            f"{len(videos)} videos are too few for split_shares={list(shares)}; a split needs one video at least"
        )
    if not shares[0]:  # what rounding left over
        sizes["val" if shares[1] else "test"] += num_train
    first, second = sizes["test"], sizes["test"] + sizes["val"]
    return {name: "test" if n < first else "val" if n < second else "train" for n, name in enumerate(videos)}
