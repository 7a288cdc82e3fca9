"""What a sampler in training is tested beside: itself as it was, its baselines, and who did what of joint training."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from modules.selection.base import FrameSampler
from modules.systems.answering import Answering
from modules.systems.base import VideoSystem
from modules.systems.frame_choice import FrameChoice
from modules.systems.queries import QueryWriter
from modules.systems.sampler_system import SamplerSystem
from modules.systems.yardsticks import Blind, Oracle

TRAINED = "after"
"""Name of the system that is trained."""


def untrained_copy(sampler: FrameSampler) -> FrameSampler:
    """A sampler as it is now, which stays as it is."""
    return copy.deepcopy(sampler).requires_grad_(False)


def compared_systems(
    sampler: FrameSampler,
    untrained: FrameSampler,
    baselines: Mapping[str, FrameSampler],
    query_writer: QueryWriter | None,
    answering: Answering,
    initial: Answering | None,
) -> dict[str, VideoSystem]:
    """The systems of a training's test, by name; each says who chooses, who writes queries, and who answers.

    Args:
        sampler: as it trains.
        untrained: as it was.
        baselines: other samplers, by name.
        query_writer: of queries, if they are written.
        answering: who answers; the MLLM as it trains.
        initial: the MLLM as it was, where it is trained and a copy kept. Systems with it show what its training adds:
            the same frames answered, the same questions searched, by what it was.
    """
    choices = {name: FrameChoice(baseline) for name, baseline in baselines.items()}
    choices |= {"before": FrameChoice(untrained, query_writer), TRAINED: FrameChoice(sampler, query_writer)}
    systems: dict[str, VideoSystem] = {"blind": Blind(), "oracle": Oracle()}
    systems |= {name: SamplerSystem.of(choice) for name, choice in choices.items()}
    if query_writer is not None:
        systems[f"{TRAINED}, question only"] = SamplerSystem.of(FrameChoice(sampler))
    if initial is None:
        return systems
    for name in ("uniform", TRAINED):
        if name in choices:
            writing = answering if choices[name].query_writer is not None else None
            systems[f"{name}, initial mllm"] = SamplerSystem.of(choices[name], initial, writing)
    if query_writer is not None:
        searched_before = FrameChoice(sampler, query_writer)
        systems[f"{TRAINED}, initial queries"] = SamplerSystem.of(searched_before, answering, initial)
        systems["start"] = SamplerSystem.of(FrameChoice(untrained, query_writer), initial, initial)
    return systems
