"""Calibration methods: from what was seen of a tensor to the range that its integers cover.

A range is (low, high) with low <= 0 <= high, so that 0 is an integer of its own. It is symmetric where the
scheme asks for it. No method goes beyond what was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprune.quantize.histogram import BINS, Extent, Histogram

Range = tuple[float, float]
PERCENTILE = 99.99
_LEVELS = 256
_CANDIDATES = 128
_SMALLEST = 1e-4  # added to a probability of 0, as MXNet's calibrator does, so that divergences are finite


@dataclass(frozen=True)
class Method:
    """A calibration method: what it keeps of a tensor, and the range it reads from that."""

    statistic: type[Extent]
    range: Callable[[Any, bool], Range]


def minmax(seen: Extent, symmetric: bool) -> Range:
    """Return the least and the greatest value: nothing is cut off."""
    return _cut(seen, seen.largest, symmetric)


def percentile(seen: Histogram, symmetric: bool) -> Range:
    """Return the range that holds 99.99 % of the values: half of the rest is cut off at each end.

    With symmetry, it is 99.99 % of the absolute values.
    """
    total, counts = int(seen.counts.sum()), seen.counts
    if symmetric:
        folded = counts[BINS:] + counts[:BINS][::-1]
        inside = int(np.searchsorted(np.cumsum(folded), total * PERCENTILE / 100)) + 1
        return _cut(seen, inside * seen.width, symmetric)
    tail = total * (100 - PERCENTILE) / 200
    cumulated = np.cumsum(counts)
    first = int(np.searchsorted(cumulated, tail, side="right"))
    last = int(np.searchsorted(cumulated, total - tail))
    low, high = (first - BINS) * seen.width, (last + 1 - BINS) * seen.width
    return max(min(low, 0.0), min(seen.low, 0.0)), min(max(high, 0.0), max(seen.high, 0.0))


def entropy(seen: Histogram, symmetric: bool) -> Range:
    """Return the range whose integers keep most of the distribution: least Kullback-Leibler divergence.

    Source: S. Migacz, "8-bit Inference with TensorRT", GTC 2017. There, thresholds cut absolute values; here
    an asymmetric range ends at the threshold or at the last value seen, whichever is nearer to 0.
    """
    best = min(_thresholds(seen), key=lambda bins: _divergence(seen, bins, symmetric), default=0)
    return _cut(seen, best * seen.width, symmetric)


def mse(seen: Histogram, symmetric: bool) -> Range:
    """Return the range with the least mean squared error between values and their integers."""
    filled = np.flatnonzero(seen.counts)
    centres, counts = (filled - BINS + 0.5) * seen.width, seen.counts[filled]

    def error(bins: int) -> float:
        low, high = _cut(seen, bins * seen.width, symmetric)
        scale = (high - low) / (_LEVELS - 2 if symmetric else _LEVELS - 1)
        rounded = np.clip(np.round(centres / scale) * scale, low, high)
        return float(((centres - rounded) ** 2 * counts).sum())

    return _cut(seen, min(_thresholds(seen), key=error, default=0) * seen.width, symmetric)


METHODS: dict[str, Method] = {
    "minmax": Method(Extent, minmax),
    "entropy": Method(Histogram, entropy),
    "percentile": Method(Histogram, percentile),
    "mse": Method(Histogram, mse),
}


def _cut(seen: Extent, threshold: float, symmetric: bool) -> Range:
    """Return what was seen, with absolute values above the threshold cut off."""
    threshold = min(threshold, seen.largest)
    if symmetric:
        return -threshold, threshold
    return max(min(seen.low, 0.0), -threshold), min(max(seen.high, 0.0), threshold)


def _thresholds(seen: Histogram) -> Iterator[int]:
    """Yield thresholds to try, in bins, the widest first, which wins a tie; none for a tensor of zeros.

    None is narrower than the integers are many: a bin is the finest that can be told.
    """
    widest = int(np.ceil(seen.largest / seen.width))
    if widest:
        yield from reversed(np.unique(np.linspace(_LEVELS, widest, _CANDIDATES, dtype=np.int64)).tolist())


def _divergence(seen: Histogram, bins: int, symmetric: bool) -> float:
    """Return KL(P || Q), P being the values cut at a threshold and Q the same in 256 steps."""
    below, above = bins, bins
    if not symmetric:
        below = min(bins, int(np.ceil(max(-seen.low, 0.0) / seen.width)))
        above = min(bins, int(np.floor(max(seen.high, 0.0) / seen.width)) + 1)
    inner = seen.counts[BINS - below : BINS + above].astype(np.float64)
    cut = inner.copy()
    cut[0] += seen.counts[: BINS - below].sum()
    cut[-1] += seen.counts[BINS + above :].sum()
    step = np.arange(len(inner)) * _LEVELS // max(len(inner), _LEVELS)
    filled = cut > 0
    shares = np.bincount(step, inner) / np.maximum(np.bincount(step, filled), 1)
    return _kl(cut[filled], shares[step][filled])


def _kl(wanted: npt.NDArray[np.float64], got: npt.NDArray[np.float64]) -> float:
    if not got.any():
        return float("inf")
    wanted, got = wanted / wanted.sum(), got / got.sum()
    got = np.maximum(got, _SMALLEST * got[got > 0].min())
    return float((wanted * np.log(wanted / got)).sum())
