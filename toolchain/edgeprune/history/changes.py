"""Change points: where a series of measurements moved to another level.

The series is split where the ranks on both sides differ most, and the parts are split again as long as
a permutation test says that such a difference is not chance: the hierarchical scheme of E-Divisive (Matteson
and James, JASA 109 (2014)), which MongoDB runs over its performance history (Daly et al., ICPE 2020), with
the standardised Mann-Whitney statistic of Pettitt's test (Applied Statistics 28 (1979)) instead of the energy
distance. A slow-down that was taken back leaves nearly the same level on both sides of any one split. So
where no split is proven, the stretch in the middle that differs most from the rest is looked for, and cut out
at both ends, as circular binary segmentation does (Olshen et al., Biostatistics 5 (2004)). A split made while
other changes were still in its series may lie beside all of them: in the end each has to hold between its
neighbours, and is moved to its place there (Bai, Econometric Theory 13 (1997)). Ranks do not mind
the rare slow run, and the test needs no model of the noise. What it needs is that the noise of one run says
nothing of the next one's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edgeprune.core.ranks import average_ranks

ALPHA = 0.01
LEAST_SIDE = 3
"""Fewer runs are no level."""
_BATCHES, _BATCH = 10, 200
"""Of permutations."""
_PLACES = 200
"""Ends of a stretch that are tried at most: in a longer series every second place, every third, and so on."""

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Places = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


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
    splits: list[int] = []
    waiting = [(0, len(series))]
    while waiting:
        start, stop = waiting.pop()
        ends, p_value = _cut(series[start:stop], alpha, generator)
        if ends:
            cuts = [start + end for end in ends]
            found |= dict.fromkeys(cuts, p_value)
            splits += cuts if len(cuts) == 1 else []
            waiting += pairwise([start, *cuts, stop])
    for split in splits if len(found) > 1 else []:
        del found[split]
        start = max((cut for cut in found if cut < split), default=0)
        stop = min((cut for cut in found if cut > split), default=len(series))
        ends, p_value = _cut(series[start:stop], alpha, generator)
        found |= dict.fromkeys((start + end for end in ends), p_value)
    cuts = [0, *sorted(found), len(series)]
    levels = [float(np.median(series[a:b])) for a, b in pairwise(cuts) if b > a]
    return tuple(
        Change(index, levels[place], levels[place + 1], found[index])
        for place, index in enumerate(sorted(found))
    )


def _cut(series: Array, alpha: float, generator: np.random.Generator) -> tuple[list[int], float]:
    """Return where a series is cut, once or at both ends of a stretch, and its p-value; nowhere else."""
    ranks = average_ranks(series)[None]
    for starts, stops in (_splits(len(series)), _stretches(len(series))):
        if not len(starts):
            continue
        observed = _statistics(ranks, starts, stops)[0]
        best = int(np.argmax(observed))
        # Two questions share alpha.
        p_value = 2 * _p_value(ranks, starts, stops, float(observed[best]), alpha / 2, generator)
        if p_value <= alpha:
            return [int(end) for end in (starts[best], stops[best]) if end], p_value
    return [], 1.0


def _p_value(
    ranks: Array, starts: Places, stops: Places, observed: float, alpha: float, generator: np.random.Generator
) -> float:
    """Return the share of random orders with as large a statistic; 1 once it is certainly above alpha."""
    as_far = 0
    for _ in range(_BATCHES):
        shuffled = generator.permuted(np.repeat(ranks, _BATCH, axis=0), axis=1)
        # Rounding must not make equal statistics differ: ties count against a change.
        as_far += int(np.sum(_statistics(shuffled, starts, stops).max(axis=1) >= observed - 1e-9))
        if as_far + 1 > alpha * (_BATCHES * _BATCH + 1):
            return 1.0
    return (as_far + 1) / (_BATCHES * _BATCH + 1)


def _splits(size: int) -> tuple[Places, Places]:
    """Return stretches from the beginning, by start and stop, with `LEAST_SIDE` values in and after them."""
    stops = np.arange(LEAST_SIDE, size - LEAST_SIDE + 1)
    return np.zeros_like(stops), stops


def _stretches(size: int) -> tuple[Places, Places]:
    """Return stretches in the middle, with `LEAST_SIDE` values in them, before and after."""
    places = np.arange(LEAST_SIDE, size - LEAST_SIDE + 1, 1 + size // _PLACES)
    first, last = np.triu_indices(len(places), 1)
    starts, stops = places[first], places[last]
    wide = stops - starts >= LEAST_SIDE
    return starts[wide], stops[wide]


def _statistics(ranks: Array, starts: Places, stops: Places) -> Array:
    """Return |Mann-Whitney U - its mean| / its deviation of each stretch against all the rest.

    Args:
        ranks: shape (rows, n).

    Returns:
        Shape (rows, stretches).
    """
    size, lengths = ranks.shape[1], stops - starts
    sums = np.concatenate([np.zeros((len(ranks), 1)), np.cumsum(ranks, axis=1)], axis=1)
    deviation = np.sqrt(lengths * (size - lengths) * (size + 1) / 12)
    distance = np.abs(sums[:, stops] - sums[:, starts] - lengths * (size + 1) / 2)
    return np.asarray(distance / deviation)
