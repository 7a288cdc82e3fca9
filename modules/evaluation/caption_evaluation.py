"""Evaluates captioners: each describes every clip, and what it said is kept. Scorers read the captions then, or later.

`modules.evaluation.evaluation_module` compares systems that one MLLM answers for; captioners need none beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from jsonargparse.typing import PositiveInt
from torch import nn

from modules.encoders.base import FrameEncoder
from modules.encoders.frame_demand import FrameDemand
from modules.records import QuestionBatch
from modules.roles.captioner import Captioner
from modules.systems.base import Reply, VideoSystem, answer_all, described
from modules.systems.captioner_system import CaptionerSystem
from modules.systems.stage_data import data_of


class CaptionEvaluation(L.LightningModule, FrameDemand):
    """Asks every captioner for a caption of every clip.

    Args:
        captioners: by name; null leaves one out, in an overlay.
        num_frames: evenly spaced, that each is shown; a SwinBERT takes its own number of these.
        prompt: for those that read one; None takes the data set's ``instruction``.
    """

    def __init__(
        self, *, captioners: dict[str, Captioner | None], num_frames: PositiveInt = 32, prompt: str | None = None
    ) -> None:
        super().__init__()
        named = {name: captioner for name, captioner in captioners.items() if captioner is not None}
        if not named:
            raise ValueError("captioners: name at least one")
        self.num_frames = num_frames
        self.systems = nn.ModuleDict(
            {n: CaptionerSystem(captioner=c, num_frames=num_frames, prompt=prompt) for n, c in named.items()}
        )
        for name, system in self.named_systems().items():
            system.name = name

    def named_systems(self) -> dict[str, VideoSystem]:
        """Who is asked, by name."""
        return dict(self.systems.items())  # type: ignore[arg-type]

    @contextmanager
    def stored_encoders(self) -> Iterator[list[FrameEncoder]]:
        yield []

    @property
    def frames_per_question(self) -> int:
        return self.num_frames

    def describe(self) -> dict[str, Any]:
        """For the evaluation card."""
        return {"num_frames": self.num_frames, "systems": described(self.named_systems())}

    @torch.no_grad()
    def test_step(self, batch: QuestionBatch, batch_idx: int) -> list[Reply]:
        """A reply to each question of each captioner."""
        return answer_all(self.named_systems(), batch, data_of(self.trainer))
