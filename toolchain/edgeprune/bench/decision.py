"""The sequential test of the gate: what a number of pairs says, and when more are needed.

Section 4 of `docs/measurement.md`. The pair of fresh processes is the unit, since the iterations
of one process are not independent. There are only four looks, with the error rate split over them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import stats

LOOKS = (6, 10, 15, 20)
FAIL_ALPHA, PASS_ALPHA = 0.01, 0.05
PASS_BELOW = math.log(1.05)

Verdict = Literal["pass", "fail", "inconclusive"]


class Decision(BaseModel):
    """What one look at the pairs says about log(candidate / baseline); verdict None asks for more pairs.

    Attributes:
        median: of the log ratios.
        lower, upper: one-sided t bounds of their mean, for FAIL and for PASS.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Verdict | None
    median: float
    lower: float
    upper: float


def decide(log_ratios: Sequence[float], tau: float) -> Decision:
    """Look at the pairs once; a verdict of None asks for more of them.

    Args:
        log_ratios: one per pair, positive when the candidate is worse; their number is one of `LOOKS`.
        tau: smallest relative change that counts as a regression.
    """
    pairs = len(log_ratios)
    if pairs not in LOOKS:
        raise ValueError(f"the error rate is split over looks at {LOOKS} pairs, not {pairs}")
    median, mean = float(np.median(log_ratios)), float(np.mean(log_ratios))
    error = float(np.std(log_ratios, ddof=1)) / math.sqrt(pairs)
    lower = mean - error * float(stats.t.ppf(1 - FAIL_ALPHA / len(LOOKS), pairs - 1))
    upper = mean + error * float(stats.t.ppf(1 - PASS_ALPHA / len(LOOKS), pairs - 1))
    verdict: Verdict | None = None
    if median >= math.log1p(tau) and lower > 0:
        verdict = "fail"
    elif upper < PASS_BELOW:
        verdict = "pass"
    elif pairs == LOOKS[-1]:
        verdict = "inconclusive"
    return Decision(verdict=verdict, median=median, lower=lower, upper=upper)
