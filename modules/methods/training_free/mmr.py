"""MMR: maximal marginal relevance, each frame like the question and unlike the frames taken before it."""

from __future__ import annotations

from typing import Literal

from jsonargparse.typing import ClosedUnitInterval

from modules.methods.training_free.greedy import marginal_relevance
from modules.methods.training_free.ranking import Frames, unit_range
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.rule import Rule
from modules.selection.base import FrameSampler


class MMR(Rule):
    """Greedy ``relevance r_t - (1 - relevance) max cos(f_t, f_chosen)`` (Carbonell and Goldstein 1998).

    As in WFS-SB's code, the first frame is the best one, and r is a score of 0..1 taken to -1..1. Linear in T times K.

    Args:
        scorer: whose scores are taken; CLIP similarity by default.
        relevance: weight of the score against the likeness; 0.5 in WFS-SB's code.
        compat: ``official``: scores are taken as they come, in 0..1; else by their range, whatever it is.
    """

    uses_features, best_first = True, True

    def __init__(
        self,
        *,
        scorer: FrameSampler | None = None,
        relevance: ClosedUnitInterval = 0.5,
        compat: Literal["official"] | None = None,
    ) -> None:
        super().__init__(scorer=scorer)
        self.relevance, self.compat = float(relevance), compat

    def choose(self, frames: RatedFrames, num_frames: int) -> Frames:
        scores = frames.scores if self.compat else unit_range(frames.scores)
        return marginal_relevance(frames, 2 * scores - 1, self.relevance, num_frames)
