"""Change points: where a series of measurements moved to another level.

The series is split where the ranks on both sides differ most, and the halves are split again as long as
a permutation test says that such a difference is not chance: the hierarchical scheme of E-Divisive (Matteson
and James, JASA 109 (2014)), which MongoDB runs over its performance history (Daly et al., ICPE 2020), with
the standardised Mann-Whitney statistic of Pettitt's test (Applied Statistics 28 (1979)) instead of the energy
distance. Ranks do not mind the rare slow run, and the test needs no model of the noise. What it needs is that
the noise of one run says nothing of the next one's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.stats import rankdata

ALPHA = 0.01
LEAST_SIDE = 3
"""Fewer runs are no level."""
_PERMUTATIONS = 1999

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True)
class Change:
    """A change of level.

    Attributes:
        index: of the first value of the new level.
        before, after: medians of the levels on both sides, up to their own ends.
        p_value: of the permutation test that found it.
    """

    index: int
    before: float
    after: float
    p_value: float

    @property
    def share(self) -> float:
        """The change relative to the level before."""
        return self.after / self.before - 1 if self.before else float("nan")


def change_points(values: Sequence[float], alpha: float = ALPHA, seed: int = 0) -> tuple[Change, ...]:
    """Return the changes of level of a series, in order.

    Args:
        values: one a run, in order.
        alpha: how often a series that never changes may still show a change.
        seed: of the permutations; the same series always gives the same answer.
    """
    series = np.asarray(values, dtype=np.float64)
    generator = np.random.default_rng(seed)
    found: dict[int, float] = {}
    waiting = [(0, len(series))]
    while waiting:
        start, stop = waiting.pop()
        split, p_value = _split(series[start:stop], generator)
        if p_value <= alpha:
            found[start + split] = p_value
            waiting += [(start, start + split), (start + split, stop)]
    cuts = [0, *sorted(found), len(series)]
    levels = [float(np.median(series[a:b])) for a, b in pairwise(cuts) if b > a]
    return tuple(
        Change(index, levels[place], levels[place + 1], found[index])
        for place, index in enumerate(sorted(found))
    )


def _split(series: Array, generator: np.random.Generator) -> tuple[int, float]:
    """Return the best split of a series and the p-value of there being one; 1 where it is too short."""
    size = len(series)
    if size < 2 * LEAST_SIDE:
        return 0, 1.0
    ranks = rankdata(series)[None]
    shuffled = generator.permuted(np.repeat(ranks, _PERMUTATIONS, axis=0), axis=1)
    observed = _standardised(ranks)[0]
    best = int(np.argmax(observed))
    # Rounding must not make equal statistics differ: ties count against a change.
    as_far = int(np.sum(_standardised(shuffled).max(axis=1) >= observed[best] - 1e-9))
    return best + LEAST_SIDE, (as_far + 1) / (_PERMUTATIONS + 1)


def _standardised(ranks: Array) -> Array:
    """Return |Mann-Whitney U - its mean| / its deviation for each split with `LEAST_SIDE` on both sides.

    Args:
        ranks: shape (permutations, n).

    Returns:
        Shape (permutations, n - 2 * LEAST_SIDE + 1), the first split after `LEAST_SIDE` values.
    """
    size = ranks.shape[1]
    left = np.arange(LEAST_SIDE, size - LEAST_SIDE + 1)
    sums = np.cumsum(ranks, axis=1)[:, left - 1]
    deviation = np.sqrt(left * (size - left) * (size + 1) / 12)
    return np.abs(sums - left * (size + 1) / 2) / deviation
