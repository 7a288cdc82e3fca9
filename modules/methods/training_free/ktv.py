"""KTV: the frames at the middle of K clusters, whatever the question is."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jsonargparse.typing import PositiveInt
from sklearn.cluster import KMeans

from modules.methods.training_free.ranking import Frames, distinct, spread
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.rule import Rule
from modules.selection.base import FrameSampler


class KTV(Rule):
    """k-means++ on the features as they come; of each cluster the frame nearest its centre.

    The official features are DINOv2-large's, of every frame of the video up to 5 400; similarity to the question only
    ranks the frames that were chosen. # official code: where two clusters have one nearest frame, all frames are evenly
    spaced (``linspace(0, T, K, endpoint=False)``); here: evenly spaced ones of the rest stand in for repetitions. Each
    step of each start takes T D K; `num_starts` is what the time goes to.

    Args:
        scorer: ranks the frames; not needed.
        num_starts: of k-means, of which the best stays; 10 in the official code.
        compat: ``official``: evenly spaced frames in place of a choice with a repetition.
    """

    uses_scores, uses_features = False, True

    def __init__(
        self,
        *,
        scorer: FrameSampler | None = None,
        num_starts: PositiveInt = 10,
        compat: Literal["official"] | None = None,
    ) -> None:
        super().__init__(scorer=scorer)
        self.num_starts, self.compat = int(num_starts), compat

    def choose(self, frames: RatedFrames, num_frames: int) -> Frames:
        features = frames.features
        points = {row.tobytes(): t for t, row in reversed(list(enumerate(features)))}  # the first of equal ones
        if len(points) < num_frames:  # k-means has no more clusters than there are points
            nearest = np.sort(list(points.values()))
        else:
            fitted = KMeans(num_frames, init="k-means++", n_init=self.num_starts, random_state=0).fit(features)
            centres = fitted.cluster_centers_
            # distances squared, without the centre's own square, which ranks nothing
            distances = (features**2).sum(1) - 2 * centres @ features.T
            nearest = distances.argmin(1)
        if self.compat and len(distinct(nearest)) < num_frames:
            return np.linspace(0, len(frames), num_frames, endpoint=False).astype(np.int64)
        return spread(nearest, len(frames), num_frames)
