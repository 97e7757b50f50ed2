"""Does an engine leak? The growth of its resident memory over a `sustained` run.

The slope is Theil and Sen's median of all slopes between two readings (Sen, JASA 1968), since resident memory
moves in steps that would pull a least-squares line. Its bounds take the readings as independent, which they
are not, so one bound does not decide: the growth has to go on in the second half of the run as well, and to
be nearly monotone. What an allocator takes at the beginning, or once, is no leak then, nor is a saw-tooth.
The first half alone may be flat, where a leak fills up what the heap had free.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgeprune.core.ranks import kendall_tau, theil_sen
from edgeprune.records.figures import Growth

LEAK_MB_PER_MINUTE = 0.25  # 360 MB a day
LEAST_SAMPLES = 60
CONFIDENCE = 0.98  # two-sided, so that each bound is one of 99 %
MONOTONE = 0.7  # Kendall's tau of the parts' medians over time
_PARTS = 20
_MOST_POINTS = 600  # the slope of n points takes n squared

Series = npt.NDArray[np.float64]


def growth_of(minutes: Sequence[float], mb: Sequence[float]) -> Growth | None:
    """Judge readings of resident memory.

    Args:
        minutes: when each was taken, ascending.
        mb: MB of 1e6 bytes.

    Returns:
        None for fewer than three readings; with `leak` None for fewer than 60.
    """
    if len(mb) < 3:
        return None
    time, memory = _thinned(np.asarray(minutes, np.float64), np.asarray(mb, np.float64))
    slope, lower, upper = theil_sen(memory, time, CONFIDENCE)
    leak = _is_leak(time, memory, lower) if len(mb) >= LEAST_SAMPLES else None
    return Growth(n=len(mb), mb_per_minute=slope, lower=lower, upper=upper, leak=leak)


def _is_leak(time: Series, memory: Series, lower: float) -> bool:
    if lower <= LEAK_MB_PER_MINUTE:
        return False
    half = slice(len(time) // 2, None)
    lower_of_half = theil_sen(memory[half], time[half], CONFIDENCE).lower
    medians = np.asarray([np.median(part) for part in np.array_split(memory, _PARTS)])
    monotone = kendall_tau(np.arange(_PARTS, dtype=np.float64), medians)
    return bool(lower_of_half > LEAK_MB_PER_MINUTE and monotone >= MONOTONE)


def _thinned(time: Series, memory: Series) -> tuple[Series, Series]:
    """Return at most 600 points, each the median of as many readings that follow one another."""
    parts = -(-len(time) // -(-len(time) // _MOST_POINTS))
    split = (np.array_split(series, parts) for series in (time, memory))
    first, second = ([float(np.median(part)) for part in series] for series in split)
    return np.asarray(first), np.asarray(second)
