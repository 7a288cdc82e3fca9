"""A checkpoint is read before anything is built from it; where a run's newest is damaged, its others are looked at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from modules.checkpoints.checkpoint_files import read
from modules.checkpoints.sampler_files import SUFFIX


def whole(checkpoint: Path) -> Path:
    """The path, once what lies there has been found whole and finite.

    Raises:
        ValueError: says what is wrong with it.
    """
    read(checkpoint)
    return checkpoint


def whole_for(checkpoint: Path, stage: str | Sequence[str]) -> Path:
    """`whole`, for the stages that a run begins with.

    Raises:
        ValueError: also where a training should go on from what holds a sampler alone.
    """
    first = stage if isinstance(stage, str) else stage[0]
    if first == "fit" and checkpoint.suffix == SUFFIX:
        raise ValueError(
            f"checkpoint: {checkpoint} is a sampler without the state of its training, so no training can go on from "
            f"it; a new one starts from it with --checkpoint null --model.init_from {checkpoint}"
        )
    return whole(checkpoint)


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
