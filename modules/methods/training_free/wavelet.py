"""The coarsest detail of a signal under Daubechies' wavelet of four vanishing moments, as PyWavelets has it (db4)."""

from __future__ import annotations

import numpy as np

from modules.methods.training_free.ranking import Scores

# Daubechies 1988, table 1 (N = 4), in the order of PyWavelets' decomposition filter
_LOW = np.array(
    [
        -0.010597401785069032,
        0.0328830116668852,
        0.030841381835560764,
        -0.18703481171909309,
        -0.027983769416859854,
        0.6308807679298589,
        0.7148465705529157,
        0.2303778133088965,
    ]
)
_TAPS = len(_LOW)
_HIGH = _LOW[::-1] * np.where(np.arange(_TAPS) % 2, 1.0, -1.0)


def num_levels(length: int) -> int:
    """How often a signal of that length is halved: floor(log2 T) - 3, as far as the filter fits, at least once."""
    deepest = int(np.log2(length / (_TAPS - 1))) if length >= _TAPS - 1 else 0
    return int(np.clip(int(np.log2(length)) - 3, 1, deepest)) if deepest > 1 else 1


def coarsest_detail(signal: Scores, levels: int) -> Scores:
    """What the highest of ``levels`` levels tells beyond its average, back at the signal's own rate, (T,).

    The signal is extended by its mirror image at both ends, the last value twice.
    """
    approximation, lengths = signal, []
    detail = signal
    for _ in range(levels):
        lengths.append(len(approximation))
        extended = np.pad(approximation, _TAPS - 1, mode="symmetric")
        detail = np.convolve(extended, _HIGH, "valid")[1::2]
        approximation = np.convolve(extended, _LOW, "valid")[1::2]
    band = _up(detail, _HIGH)
    for length in reversed(lengths[1:]):
        band = _up(band[:length], _LOW)
    return band[: len(signal)]


def _up(band: Scores, analysis: Scores) -> Scores:
    """One level up: zeros between the values, then the filter backwards."""
    spaced = np.zeros(2 * len(band) - 1)
    spaced[::2] = band
    return np.convolve(spaced, analysis[::-1])[_TAPS - 2 : 2 * len(band)]
