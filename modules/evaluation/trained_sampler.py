"""A trained sampler's weights, from the checkpoint of its run into the sampler of a system that answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modules.checkpoints.checkpoint_files import PATH_KEY
from modules.checkpoints.weights import SAMPLER, refuse_other, refuse_without_sampler
from modules.selection.base import FrameSampler

_MLLM = "mllm."


def prepare_sampler(sampler: FrameSampler, checkpoint: Mapping[str, Any], mllm: Mapping[str, Any]) -> None:
    """Finds that a checkpoint fits, and gives the sampler the temperature that it was trained with.

    Args:
        sampler: that will take the weights.
        checkpoint: that was read.
        mllm: parameters by name of the MLLM that will take the weights of the run's, where that was trained.

    Raises:
        ValueError: it does not fit; says what it holds.
    """
    own = {f"{SAMPLER}{name}": parameter for name, parameter in sampler.named_parameters()}
    needed = [name for name, parameter in own.items() if parameter.requires_grad]
    if needed:
        refuse_without_sampler(checkpoint, checkpoint.get(PATH_KEY, "this checkpoint"))
    own |= {f"{_MLLM}{name}": parameter for name, parameter in mllm.items()}
    refuse_other(checkpoint, own, needed, type(sampler).__name__)
    if checkpoint.get("temperature") is not None:
        sampler.temperature = checkpoint["temperature"]


def load_sampler(sampler: FrameSampler, checkpoint: Mapping[str, Any]) -> None:
    """Gives a sampler its trained weights; an MLLM that was trained with it is left for whoever has it.

    Args:
        sampler: that takes them.
        checkpoint: that was read.

    Raises:
        ValueError: as of `prepare_sampler`.
    """
    saved = checkpoint["state_dict"]
    alone = {**checkpoint, "state_dict": {n: saved[n] for n in saved if not n.startswith(_MLLM)}}
    prepare_sampler(sampler, alone, {})
    sampler.load_state_dict({n.removeprefix(SAMPLER): w for n, w in alone["state_dict"].items()}, strict=False)
