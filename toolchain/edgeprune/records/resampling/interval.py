"""The 95 % interval of a difference from paired resamples, and how many images would tell more."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from edgeprune.core.distributions import student_t_quantile

CONFIDENCE = 0.95
LEAST = 0.5
"""Where fewer of the resamples than this share have anything to judge, nothing is said."""

Interval = tuple[float, float]


def paired_interval(
    before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], images: int
) -> Interval | None:
    """Return the 95 % interval of `before - after`; None of one image, or where resamples tell nothing.

    It is the percentile interval of the paired differences (Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 13), with the percentiles moved out as Hesterberg tells ("What Teachers Should
    Know About the Bootstrap", The American Statistician 69, 2015, section 5.2), since it is too narrow where
    images are few.

    Args:
        before, after: (resamples,) the scores of two models on the same resamples.
        images: in each of them.
    """
    differences = before - after
    differences = differences[np.isfinite(differences)]
    if images < 2 or len(differences) < LEAST * len(before):
        return None
    tail = (1 - CONFIDENCE) / 2
    wide = math.sqrt(images / (images - 1)) * student_t_quantile(1 - tail, images - 1)
    outer = NormalDist().cdf(-wide)
    low, high = np.quantile(differences, (outer, 1 - outer))
    return float(low), float(high)


def drop_words(drop: float, interval: Interval | None) -> str:
    """Return a drop with its interval as they stand in a sentence, such as ``0.0075 [-0.0060, 0.0210]``."""
    shown, *ends = (f"{round(value, 4) + 0:.4f}" for value in (drop, *(interval or ())))
    return f"{shown} [{', '.join(ends)}]" if ends else shown


def counted_drop(drop: float, interval: Interval | None, sure: bool) -> float:
    """Return what a budget is held against: the drop; if it has to be sure, the upper end of its interval."""
    return interval[1] if sure and interval else drop


def images_needed(images: int, reach: float, wanted: float) -> int:
    """Return about how many images an interval needs to reach only so far: it shrinks with their root.

    It is rounded up to two digits: the interval itself is an estimate.

    Args:
        images: those that it has now.
        reach: how far it goes from the estimate now.
        wanted: how far it may go, above 0.
    """
    count = images * (reach / wanted) ** 2
    unit: int = 10 ** max(math.floor(math.log10(max(count, 1))) - 1, 0)
    return math.ceil(round(count / unit, 6)) * unit
