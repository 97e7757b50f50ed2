"""Student's t and the binomial distribution, by the incomplete beta function.

The gate and `bench` read a few quantiles. SciPy has them too, but it takes 140 MB, and a machine that only
measures needs nothing else of it. `tests/core/test_distributions.py` holds these functions to SciPy's.
"""

from __future__ import annotations

import math

_TINY = 1e-300
_STEPS = 100_000
_EXACT = 4e-16


def student_t_tail(t: float, freedom: int) -> float:
    """Return the probability that Student's t of so many degrees of freedom is above `t`.

    Source: DLMF 8.17 and Abramowitz and Stegun 26.7.1.
    """
    if t < 0:
        return 1.0 - student_t_tail(-t, freedom)
    square = t * t
    if math.isinf(square):
        return 0.0
    return regularised_beta(freedom / (freedom + square), freedom / 2, 0.5, square / (freedom + square)) / 2


def student_t_quantile(probability: float, freedom: int) -> float:
    """Return the value that Student's t stays below with a probability in (0, 1)."""
    if probability < 0.5:
        return -student_t_quantile(1.0 - probability, freedom)
    tail, low, high = 1.0 - probability, 0.0, 1.0
    while student_t_tail(high, freedom) > tail:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if student_t_tail(middle, freedom) > tail else (low, middle)
    return middle


def binomial_quantile(probability: float, trials: int, chance: float) -> int:
    """Return the least count of successes that is not exceeded with at least this probability.

    Args:
        probability: in (0, 1).
        trials: at least 1.
        chance: of a success in each trial, in (0, 1).
    """
    low, high = -1, trials
    while high - low > 1:
        middle = (low + high) // 2
        # P(X <= k) = I_{1-p}(n - k, k + 1), DLMF 8.17.5
        at_most = regularised_beta(1 - chance, trials - middle, middle + 1, chance)
        low, high = (low, middle) if at_most >= probability else (middle, high)
    return high


def regularised_beta(x: float, a: float, b: float, rest: float | None = None) -> float:
    """Return the regularised incomplete beta function I_x(a, b) for x in [0, 1] and a, b > 0.

    Args:
        rest: 1 - x, where the caller knows it more exactly.
    """
    rest = 1.0 - x if rest is None else rest
    if x <= 0.0 or rest <= 0.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges quickly on the other side
        return 1.0 - regularised_beta(rest, b, a, x)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    return math.exp(scale) * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """Evaluate the continued fraction DLMF 8.17.22 from its front, as Lentz does."""
    c, d = 1.0, 1.0 / _not_zero(1.0 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / _not_zero(1.0 + term * d)
            c = _not_zero(1.0 + term / c)
            value *= c * d
        if abs(c * d - 1.0) < _EXACT:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
