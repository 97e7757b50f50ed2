"""Statistics of ranks: average ranks, Kendall's tau, Theil and Sen's slope.

Numpy only, for the same reason as `core/distributions.py`. `tests/core/test_ranks.py` holds them to SciPy's.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.float64]


class Slope(NamedTuple):
    """A slope and the ends of its confidence interval."""

    slope: float
    lower: float
    upper: float


def average_ranks(values: Series) -> Series:
    """Return the rank of each value from 1, float64 (n,); equal values share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[places], dtype=np.float64)


def kendall_tau(one: Series, other: Series) -> float:
    """Return Kendall's tau-b of two series of one length; NaN where one of them is constant."""
    first, second = (np.sign(series[:, None] - series[None]) for series in (one, other))
    pairs = math.sqrt(float((first**2).sum()) * float((second**2).sum()))
    return float((first * second).sum()) / pairs if pairs else math.nan


def theil_sen(values: Series, times: Series, confidence: float) -> Slope:
    """Return the median of the slopes between any two points, and its confidence interval.

    Source: Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968), with its
    variance for ties.

    Args:
        values, times: float64 (n,), with at least two different times. Time and memory grow with n squared.
        confidence: of the two-sided interval, in (0, 1).
    """
    apart = times[:, None] - times[None]
    forward = apart > 0
    slopes = np.sort((values[:, None] - values[None])[forward] / apart[forward])
    count, between = len(values), len(slopes)
    ties = sum(_tied(series) for series in (times, values))
    variance = (count * (count - 1) * (2 * count + 5) - ties) / 18
    width = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(max(variance, 0.0))
    last = min(round((between + width) / 2), between - 1)
    first = max(round((between - width) / 2) - 1, 0)
    return Slope(float(np.median(slopes)), float(slopes[first]), float(slopes[last]))


def _tied(series: Series) -> int:
    """Return what equal values take from the variance, times 18."""
    counts = np.unique(series, return_counts=True)[1].astype(np.int64)
    return int((counts * (counts - 1) * (2 * counts + 5)).sum())
