"""MaxInfo: frames whose features span the greatest volume, whatever the question is."""

from __future__ import annotations

import numpy as np
from jsonargparse.typing import PositiveInt
from scipy.linalg import eigh, lu_factor, solve_triangular

from modules.methods.training_free.ranking import Frames, Scores, spread
from modules.methods.training_free.rated_frames import RatedFrames
from modules.methods.training_free.rule import Rule
from modules.selection.base import FrameSampler

_SWAPS, _ENOUGH = 10, 1.05


class MaxInfo(Rule):
    """Rectangular maxvol (Mikhalev and Oseledets 2018) on the first ``rank`` left singular vectors of the features.

    Pivots of an LU factorisation, at most 10 swaps until ``C = U U_S^-1`` has no entry above 1.05, then, one after
    another, the frame of the row of C with the greatest norm. # official code: goes on while that norm exceeds a
    tolerance, so the number of frames is its own (of 64 candidates it keeps all), and drops the last of an odd
    number; here: K frames. Singular vectors come from D x D products, so the rule takes T D^2 + T K rank.

    Args:
        scorer: says in which order the frames are worth something; not needed.
        rank: r, of the features that count; 8 in the official code; K where that is less.
    """

    uses_scores, uses_features = False, True

    def __init__(self, *, scorer: FrameSampler | None = None, rank: PositiveInt = 8) -> None:
        super().__init__(scorer=scorer)
        self.rank = int(rank)

    def choose(self, frames: RatedFrames, num_frames: int) -> Frames:
        vectors = left_singular_vectors(frames.features, min(self.rank, num_frames))
        if not vectors.shape[1]:
            return spread(np.empty(0, dtype=np.int64), len(frames), num_frames)
        picks, shares = _square(vectors)
        norms = (shares**2).sum(1)
        norms[picks] = 0
        while len(picks) < num_frames and norms.max() > 0:
            pick = int(np.argmax(norms))
            row = shares[pick].copy()
            along = shares @ row
            scale = 1 / (1 + along[pick])
            shares = np.hstack([shares - scale * np.outer(along, row), scale * along[:, None]])
            norms = norms - scale * along**2
            picks = np.append(picks, pick)
            norms[picks] = 0
        return spread(picks, len(frames), num_frames)


def left_singular_vectors(features: np.ndarray, rank: int) -> Scores:
    """The first ``rank`` left singular vectors (T, r) of features (T, D), fewer where their rank is less."""
    values = features.astype(np.float64)
    wide = values.shape[1] > values.shape[0]
    products = values @ values.T if wide else values.T @ values
    size = len(products)
    squares, vectors = eigh(products, subset_by_index=[max(0, size - rank), size - 1])
    squares, vectors = squares[::-1], vectors[:, ::-1]
    real = squares > 1e-10 * max(squares[0], 1e-300)
    vectors = vectors[:, real]
    return vectors if wide else values @ vectors / np.sqrt(squares[real])


def _square(vectors: Scores) -> tuple[Frames, Scores]:
    """r rows of large volume, and every row as a mixture of theirs, (T, r)."""
    rank = vectors.shape[1]
    factors, swaps = lu_factor(vectors)
    order = np.arange(len(vectors))
    for i, swap in enumerate(swaps[:rank]):
        order[[i, swap]] = order[[swap, i]]
    picks = order[:rank]
    upper = solve_triangular(factors[:rank], vectors.T, trans=1)
    shares = solve_triangular(factors[:rank], upper, trans=1, lower=True, unit_diagonal=True).T
    for _ in range(_SWAPS):
        column, row = divmod(int(np.abs(shares.T).argmax()), len(vectors))
        if abs(shares[row, column]) <= _ENOUGH:
            break
        difference = shares[row].copy()
        difference[column] -= 1
        shares = shares - np.outer(shares[:, column], difference) / shares[row, column]
        picks[column] = row
    return picks, shares
