"""The channel step of a runtime, read from latency over width: the length of the stairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from edgeprune.records.latency_table import Scan

FINEST = 4
STEPS = (8, 16, 32, 64)
_EXACT = 1e-3  # a fit to a thousandth is exact: nothing is measured better


def scan_widths(width: int) -> tuple[int, ...]:
    """Return the widths to scan for a layer of `width` channels: every fourth of its upper half."""
    top = width - width % FINEST
    return tuple(range(top // 2 + FINEST, top + 1, FINEST))


def derive_step(scans: Sequence[Scan]) -> int:
    """Return the channel step that explains the scans best.

    For each step s the model is ``t(c) = a + b ceil_s(c) + d [c is no multiple of s]`` with a, b, d >= 0, the
    stairs and what a partly used vector costs; without stairs it is ``a + b c``. Fitted by least squares to
    every scan, they are compared by the Bayesian information criterion, ``n ln(rss / n) + k ln n`` with k
    coefficients, summed over the scans: stairs have to explain more than their extra coefficient would by
    chance.

    Returns:
        One of `STEPS`: the shortest, too, when a straight line explains the scans as well. Widths between its
        multiples were not scanned finely enough to be trusted.
    """
    found = min((FINEST, *STEPS), key=lambda step: sum(_criterion(scan, step) for scan in scans))
    return max(found, STEPS[0])


def _criterion(scan: Scan, step: int) -> float:
    widths, ms = np.array(scan.widths), np.array(scan.ms)
    columns = [np.ones(len(widths)), np.ceil(widths / step) * step]
    if step != FINEST:
        columns.append((widths % step != 0).astype(float))
    rss = nnls(np.stack(columns, axis=1).astype(float), ms)[1] ** 2
    n = len(widths)
    least = n * (_EXACT * float(ms.mean())) ** 2
    return float(n * np.log(max(rss, least) / n) + len(columns) * np.log(n))
