"""Q-Frame: K frames drawn from a softmax of the scores, the same draw for a question every time."""

from __future__ import annotations

import numpy as np
from jsonargparse.typing import PositiveFloat

from modules.methods.training_free.ranking import Frames, Scores, best
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.rule import Rule
from modules.selection.base import FrameSampler


class QFrame(Rule):
    """Gumbel top-K of ``scores * scale / temperature`` (Zhang et al., ICCV 2025): a Plackett-Luce draw.

    # official code: logits are products of Long-CLIP's features as they come, drawn without a seed, in half precision
    # on CUDA, and any exception gives random frames; here: scores times ``scale``, drawn by question and seed. Its
    # other setting, 4, 8 and 32 frames at three sizes, needs a model that reads frames of several sizes; left out.

    Args:
        scorer: whose scores are taken; CLIP similarity by default.
        scale: turns scores into logits; 100 is CLIP's own for cosines.
        temperature: 0.8 in the official code.
        seed: another one draws other frames.
    """

    best_first = True

    def __init__(
        self,
        *,
        scorer: FrameSampler | None = None,
        scale: PositiveFloat = 100.0,
        temperature: PositiveFloat = 0.8,
        seed: int = 0,
    ) -> None:
        super().__init__(scorer=scorer)
        self.scale, self.temperature, self.seed = float(scale), float(temperature), seed

    def choose(self, frames: RatedFrames, num_frames: int) -> Frames:
        return self.drawn(frames.scores, frames.generator.random(len(frames)), num_frames)

    def drawn(self, scores: Scores, uniform: Scores, num_frames: int) -> Frames:
        """The draw that uniform numbers (T,) of 0..1 make."""
        logits = scores * self.scale / self.temperature
        noise = -np.log(-np.log(uniform + 1e-10) + 1e-10)
        return best(logits + noise, num_frames)
