"""The sequential test of the gate: what a number of pairs says, and when more are needed.

Section 4 of `docs/measurement.md`. The pair of fresh processes is the unit, since the iterations
of one process are not independent. There are only four looks, with the error rate split over them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from edgeprune.core.distributions import student_t_quantile, student_t_tail

LOOKS = (6, 10, 15, 20)
FAIL_ALPHA, PASS_ALPHA = 0.01, 0.05
PASS_BELOW = math.log(1.05)

Verdict = Literal["pass", "fail", "inconclusive"]


class Decision(BaseModel):
    """What one look at the pairs says about log(candidate / baseline); verdict None asks for more pairs.

    Attributes:
        median: of the log ratios.
        lower, upper: one-sided t bounds of their mean, for FAIL and for PASS.
        p_value: the least error rate over all looks at which this look would fail; 1 where the median is
            below tau. The least of several looks is a p-value too: each look has its share (Bonferroni).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Verdict | None
    median: float
    lower: float
    upper: float
    p_value: float


def decide(
    log_ratios: Sequence[float],
    tau: float,
    fail_alpha: float = FAIL_ALPHA,
    pass_below: float = PASS_BELOW,
) -> Decision:
    """Look at the pairs once; a verdict of None asks for more of them.

    Args:
        log_ratios: one per pair, positive when the candidate is worse; their number is one of `LOOKS`.
        tau: smallest relative change that counts as a regression.
        fail_alpha: error rate of FAIL over all looks.
        pass_below: log ratio that the upper bound has to be below to PASS.
    """
    pairs = len(log_ratios)
    if pairs not in LOOKS:
        raise ValueError(f"the error rate is split over looks at {LOOKS} pairs, not {pairs}")
    median, mean = float(np.median(log_ratios)), float(np.mean(log_ratios))
    error = float(np.std(log_ratios, ddof=1)) / math.sqrt(pairs)
    lower = mean - error * student_t_quantile(1 - fail_alpha / len(LOOKS), pairs - 1)
    upper = mean + error * student_t_quantile(1 - PASS_ALPHA / len(LOOKS), pairs - 1)
    counts = median >= math.log1p(tau)
    verdict: Verdict | None = None
    if counts and lower > 0:
        verdict = "fail"
    elif upper < pass_below:
        verdict = "pass"
    elif pairs == LOOKS[-1]:
        verdict = "inconclusive"
    return Decision(
        verdict=verdict,
        median=median,
        lower=lower,
        upper=upper,
        p_value=_p_value(mean, error, pairs) if counts else 1.0,
    )


def _p_value(mean: float, error: float, pairs: int) -> float:
    """Return the one-sided p-value of a mean above 0, times the number of looks."""
    if error == 0:
        return 0.0 if mean > 0 else 1.0
    return min(1.0, len(LOOKS) * student_t_tail(mean / error, pairs - 1))


def holm(p_values: Mapping[str, float], alpha: float = FAIL_ALPHA) -> frozenset[str]:
    """Return the names whose hypothesis is rejected when all of them share one error rate.

    Holm's step-down rule (Holm 1979): the i-th smallest p-value, from 0, is held against alpha / (m - i), and
    the first that is above it ends the rejections. It holds whatever the dependence between them.
    """
    rejected: set[str] = set()
    for name, p_value in sorted(p_values.items(), key=lambda item: item[1]):
        if p_value > alpha / (len(p_values) - len(rejected)):
            break
        rejected.add(name)
    return frozenset(rejected)
