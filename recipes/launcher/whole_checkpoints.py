"""A checkpoint is read before anything is built from it; where a run's newest is damaged, its others are looked at."""

from __future__ import annotations

import os
from pathlib import Path

from modules.checkpoints.checkpoint_files import read


def whole(checkpoint: Path) -> Path:
    """The path, once what lies there has been found whole and finite.

    Raises:
        ValueError: says what is wrong with it.
    """
    read(checkpoint)
    return checkpoint


def whole_or_another(checkpoint: Path) -> Path:
    """The same of a run that is to go on.

    Raises:
        ValueError: says what is wrong with it, which other checkpoint of its folder is whole, and how to take that.
    """
    try:
        return whole(checkpoint)
    except ValueError as error:
        folder = checkpoint.parent
        others = sorted(folder.glob("*.ckpt"), key=os.path.getmtime, reverse=True)
        for other in others:
            if not other.samefile(checkpoint) and _is_whole(other):
                take = f"ln -sf {other.name} {folder / 'last.ckpt'}"
                raise ValueError(
                    f"{error}. {other} is whole: `{take}` and --resume once more goes on from it"
                ) from error
        raise ValueError(
            f"{error}. No other checkpoint in {folder} is whole, so this run cannot go on: start it anew"
        ) from error


def _is_whole(checkpoint: Path) -> bool:
    try:
        read(checkpoint)
    except (ValueError, OSError):
        return False
    return True
