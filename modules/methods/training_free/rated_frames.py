"""What a rule sees of one question: its candidates' features and times, and a scorer to ask about any of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modules.methods.training_free.ranking import Frames, Scores


class RatedFrames:
    """The T candidates of one question, in order of time, on the host.

    A rule that reads `scores` asks about all of them; one that calls `rate` asks about those alone, and `asked` tells
    which they were.

    Args:
        rate: what a scorer says of some candidates, int64 (n,) -> float (n,).
        features: (T, D) in any precision; D may be 0.
        timestamps_s: float (T,) seconds.
        seed: of whatever is drawn.
    """

    def __init__(
        self, *, rate: Callable[[Tensor], Tensor], features: Tensor, timestamps_s: Tensor, seed: int = 0
    ) -> None:
        self._rate, self.seed = rate, seed
        self.features: NDArray[np.float32] = features.detach().float().cpu().numpy()
        self.timestamps_s: NDArray[np.float64] = timestamps_s.detach().double().cpu().numpy()
        self._known = np.full(len(self), np.nan)
        _refuse_unless_finite(self.features, "features")

    @classmethod
    def of(
        cls, scores: Tensor, features: Tensor | None = None, timestamps_s: Tensor | None = None, seed: int = 0
    ) -> RatedFrames:
        """Candidates whose scores (T,) are known; a second apart where no times are given."""
        length = len(scores)
        return cls(
            rate=lambda index: scores[index.to(scores.device)],
            features=torch.empty(length, 0) if features is None else features,
            timestamps_s=torch.arange(length).double() if timestamps_s is None else timestamps_s,
            seed=seed,
        )

    def __len__(self) -> int:
        return len(self.features)

    def part(self, start: int, stop: int) -> RatedFrames:
        """Candidates ``start`` to ``stop`` alone."""
        return RatedFrames(
            rate=lambda index: torch.from_numpy(self.rate(index.numpy() + start)),
            features=torch.from_numpy(self.features[start:stop]),
            timestamps_s=torch.from_numpy(self.timestamps_s[start:stop]),
            seed=self.seed,
        )

    def rate(self, index: Frames) -> Scores:
        """The scorer's scores of these candidates; none is asked about twice.

        Raises:
            ValueError: one of them is no number.
        """
        new = np.unique(index[np.isnan(self._known[index])])
        if len(new):
            scores = self._rate(torch.from_numpy(new)).detach().double().cpu().numpy()
            _refuse_unless_finite(scores, "scores")
            self._known[new] = scores
        return self._known[index]

    @property
    def scores(self) -> Scores:
        """float64 (T,), of all candidates."""
        return self.rate(np.arange(len(self)))

    @property
    def asked(self) -> Frames:
        """Those that the scorer was asked about, in order of time."""
        return np.flatnonzero(~np.isnan(self._known))

    @cached_property
    def unit(self) -> NDArray[np.float32]:
        """The features at length 1; a feature of zeros stays one."""
        return self.features / np.maximum(np.linalg.norm(self.features, axis=1, keepdims=True), 1e-12)

    def similarity(self, index: int | Frames) -> NDArray[np.float64]:
        """Cosines of all T candidates with one, (T,), or with n, (T, n).

        Rounded to 1e-6, which is about what float32 tells, so that equal frames are equally similar.
        """
        cosines = (self.unit @ self.unit[index].T) * np.float32(1e6)
        return np.rint(cosines).astype(np.float64) * 1e-6

    @cached_property
    def generator(self) -> np.random.Generator:
        """For whatever is drawn."""
        return np.random.default_rng(self.seed)


def _refuse_unless_finite(values: NDArray[np.floating], name: str) -> None:
    if wrong := int((~np.isfinite(values)).sum()):
        raise ValueError(
            f"{wrong} of {values.size} {name} of the candidates are not finite, and no rule can choose by them: the "
            f"encoder or sampler that made them has to be looked at"
        )
