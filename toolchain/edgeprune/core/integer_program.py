"""Programs over yes-or-no choices, solved by HiGHS through scipy: the knapsacks of pruning and the guard."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

GAP = 1e-4
MOST_SECONDS = 20.0


def cheapest_choice(
    cost: np.ndarray[Any, Any], constraints: Sequence[LinearConstraint]
) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    """Return which of n choices to take at the least cost, or None where nothing meets the constraints.

    The result is within 1e-4 of the least cost, or the best that was found in 20 seconds.

    Args:
        cost: (n,) of each choice; below zero for what is won by it.
        constraints: over the n choices as 0 and 1.
    """
    with _silent():
        solution = milp(
            cost,
            integrality=np.ones(len(cost)),
            bounds=Bounds(0, 1),
            constraints=list(constraints),
            options={"mip_rel_gap": GAP, "time_limit": MOST_SECONDS},
        )
    return None if solution.x is None else np.asarray(solution.x > 0.5)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep what HiGHS prints, even with its display off, out of the standard output: JSON goes there."""
    sys.stdout.flush()
    libc = ctypes.CDLL(None)
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        libc.fflush(None)
        os.dup2(nowhere, 1)
        yield
    finally:
        libc.fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
