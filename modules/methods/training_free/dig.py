"""DIG's refinement: scores one frame of each scene, and shows frames from around the scenes that matter."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from jsonargparse.typing import PositiveFloat, PositiveInt
from scipy.signal import find_peaks

from modules.methods.training_free.ranking import Frames, Scores, spread
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.rule import Rule
from modules.selection.base import FrameSampler
from modules.selection.even_spacing import spread_order

_CHUNK_S = 60


class DIG(Rule):
    """Video refinement of DIG (2026) for questions about a part of the video; `modules.methods.training_free.router`
    gives the others evenly spaced frames, as DIG does.

    Scenes are cut where the cosine distance between neighbours has a peak that stands out by ``prominence``; the frame
    nearest each scene's middle is scored, in the paper by the model that answers
    (`modules.methods.training_free.rated_by_model`). Scores go to 0..1; what is left after taking the mean away again
    and again, or after taking half the maximum away, whichever leaves fewer, says which scenes matter. Each is shown
    with ``around`` scenes on both sides, and K frames lie evenly over all that is shown, both ends included.

    # official code: looks for cuts in each minute by itself, shows one scene less behind than before, and never the
    last scene; frames come twice where less than K are shown. Here: over the whole video, as many on both sides, evenly
    spaced frames of the rest beside what is shown.

    Args:
        scorer: of a frame of each scene; CLIP similarity by default.
        prominence: of a cut, in cosine distance; 0.1 in the official code, on DINOv2's features at 2 fps.
        around: scenes on each side.
        compat: ``official``: cuts, windows and the last scene as in the official code.
    """

    uses_features, best_first = True, True

    def __init__(
        self,
        *,
        scorer: FrameSampler | None = None,
        prominence: PositiveFloat = 0.1,
        around: PositiveInt = 2,
        compat: Literal["official"] | None = None,
    ) -> None:
        super().__init__(scorer=scorer)
        self.prominence, self.around, self.compat = float(prominence), int(around), compat

    def choose(self, frames: RatedFrames, num_frames: int) -> Frames:
        edges = self.edges(frames)
        middles = np.array([(a + b) // 2 for a, b in pairwise(edges.tolist())])
        shown = self.shown(frames.rate(middles), edges)
        places = np.flatnonzero(shown)
        taken = places[np.linspace(0, len(places) - 1, num_frames, dtype=int)]
        # by time they would lose the end of the video where fewer are taken of them
        return spread(taken, len(frames), num_frames)[spread_order(num_frames)]

    def edges(self, frames: RatedFrames) -> Frames:
        """int64 (S + 1,), first frame, cuts and last frame: the borders of S scenes."""
        unit, length = frames.unit, len(frames)
        apart = 1 - np.round((unit[:-1] * unit[1:]).sum(1), 6).astype(np.float64)
        if not self.compat:
            cuts, _ = find_peaks(apart, prominence=self.prominence)
            return np.array([0, *cuts, length - 1])
        step_s = float(np.median(np.diff(frames.timestamps_s)))
        num_chunks = int(np.ceil(int(length * step_s) / _CHUNK_S)) or 1
        borders = np.linspace(0, length - 1, num_chunks + 1, dtype=int)
        borders[-1] = length
        cuts = [a + find_peaks(apart[a : b - 1], prominence=self.prominence)[0] for a, b in pairwise(borders.tolist())]
        return np.array([0, *np.concatenate(cuts), length - 1])

    def shown(self, rewards: Scores, edges: Frames) -> np.ndarray:
        """bool (T,), frames from which some are taken, given the reward of each scene (S,)."""
        count, shown = len(rewards), np.zeros(int(edges[-1]) + 1, dtype=bool)
        for scene in scenes_that_matter(rewards, official=self.compat is not None):
            last = min(count - 1, scene + self.around) if self.compat else min(count, scene + self.around + 1)
            shown[edges[max(0, scene - self.around)] : edges[last] + 1] = True
        return shown if shown.any() else ~shown


def scenes_that_matter(rewards: Scores, *, official: bool = False) -> Frames:
    """Scenes whose reward stands out, in order; none where all are alike.

    # official code: none as well where those above the least are all alike, as rewards of 0 and 1 are.
    """
    span = rewards.max() - rewards.min()
    if span == 0:
        return np.empty(0, dtype=np.int64)
    scores = (rewards - rewards.min()) / span
    positive = np.flatnonzero(scores > 0)
    if len(positive) == 1:
        return positive
    above_mean = scores[positive]
    num_left = -1
    while num_left != (num_left := int((above_mean > 0).sum())):
        above_mean = np.maximum(above_mean - above_mean.mean(), 0)
    above_half = np.maximum(scores[positive] - 0.5, 0)
    fewer = above_mean if (above_mean > 0).sum() <= (above_half > 0).sum() else above_half
    if not official and not fewer.any():
        fewer = above_half
    return positive[fewer > 0]
