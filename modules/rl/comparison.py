"""What a sampler in training is tested beside: itself as it was, its baselines, and who did what of joint training."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from modules.selection.base import FrameSampler
from modules.systems.answering import Answering
from modules.systems.base import Setting, VideoSystem
from modules.systems.frame_choice import FrameChoice
from modules.systems.grading import GRADINGS, GradeBy, Grading
from modules.systems.led_agent import Agent
from modules.systems.queries import QueryWriter
from modules.systems.sampler_system import SamplerSystem
from modules.systems.yardsticks import Blind, Oracle

TRAINED = "after"
"""Name of the system that is trained."""
AGENT = "agent"
"""Name of an agent that looks where it does of its own accord."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What validation and test compare, and by which answers.

    Args:
        grade_by: what is taken for the answer, the most probable of the ``options`` or the generated ``text``; the
            latter where answers begin with a thought.
        baselines: samplers that are tested beside the one that is trained, by name; None leaves one out, as an overlay
            may want to.
    """

    grade_by: GradeBy = "options"
    baselines: dict[str, FrameSampler | None] | None = None

    def __post_init__(self) -> None:
        if self.grade_by not in GRADINGS:
            raise ValueError(f"grade_by={self.grade_by!r}: one of {', '.join(GRADINGS)}")

    @property
    def grading(self) -> Grading:
        """The form of the answers, and what they name."""
        return GRADINGS[self.grade_by]

    def setting(self, answering: Answering, num_frames: int) -> Setting:
        """What all systems have in common: who answers, on K frames, in which form."""
        form = self.grading
        return Setting(
            answering=answering,
            num_frames=num_frames,
            score_options=form.score_options,
            write_text=form.write_text,
        )

    def systems(
        self,
        sampler: FrameSampler,
        untrained: FrameSampler,
        query_writer: QueryWriter | None,
        answering: Answering,
        initial: Answering | None,
        agent: Agent | None = None,
    ) -> dict[str, VideoSystem]:
        """The systems of a training's test, by name; each says who chooses, who writes queries, and who answers.

        Args:
            sampler: as it trains.
            untrained: as it was.
            query_writer: of queries, if they are written.
            answering: who answers; the MLLM as it trains.
            initial: the MLLM as it was, where it is trained and a copy kept. Systems with it show what its training
                adds: the same frames answered, the same questions searched, by what it was.
            agent: that follows what the samplers choose, in the place of the MLLM, and stands beside them as it is.
        """
        baselines = {name: baseline for name, baseline in (self.baselines or {}).items() if baseline is not None}
        choices = {name: FrameChoice(baseline) for name, baseline in baselines.items()}
        choices |= {"before": FrameChoice(untrained, query_writer), TRAINED: FrameChoice(sampler, query_writer)}
        systems: dict[str, VideoSystem] = {"blind": Blind(), "oracle": Oracle()}
        if agent is not None:
            led = {name: agent.led_by(choice.sampler) for name, choice in choices.items()}
            return {**systems, AGENT: agent, **led}
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


def untrained_copy(sampler: FrameSampler) -> FrameSampler:
    """A sampler as it is now, which stays as it is."""
    return copy.deepcopy(sampler).requires_grad_(False)


def move_copies(systems: dict[str, VideoSystem], device: torch.device) -> None:
    """Moves what systems have of their own to a device.

    Copies of a sampler or of an MLLM are no part of what Lightning moves, saves and synchronises.
    """
    for system in systems.values():
        if isinstance(system, SamplerSystem):
            system.sampler.to(device)
            for answering in system.answerings:
                answering.mllm.to(device)
        else:
            system.to(device)
