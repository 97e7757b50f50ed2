"""Our own quantiles are SciPy's."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import betainc

from edgeprune.core.distributions import (
    binomial_quantile,
    regularised_beta,
    student_t_quantile,
    student_t_tail,
)

freedoms = st.integers(1, 300)


@given(st.floats(-60, 60), freedoms)
def test_the_tail_of_students_t(t: float, freedom: int) -> None:
    assert student_t_tail(t, freedom) == pytest.approx(stats.t.sf(t, freedom), rel=1e-10)


@given(st.floats(1e-6, 1 - 1e-6), freedoms)
def test_the_quantile_of_students_t(probability: float, freedom: int) -> None:
    expected = stats.t.ppf(probability, freedom)
    assert student_t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize(
    ("probability", "freedom", "printed"), [(0.975, 10, 2.228), (0.95, 4, 2.132), (0.995, 1, 63.657)]
)
def test_the_quantiles_of_the_printed_tables(probability: float, freedom: int, printed: float) -> None:
    assert round(student_t_quantile(probability, freedom), 3) == printed


def test_the_tail_at_its_ends() -> None:
    assert (student_t_tail(0.0, 5), student_t_tail(math.inf, 5), student_t_tail(-math.inf, 5)) == (0.5, 0, 1)
    assert student_t_tail(1e200, 3) == 0.0


@given(st.floats(0.001, 0.999), st.integers(1, 20_000), st.floats(0.01, 0.99))
def test_the_quantile_of_the_binomial_distribution(probability: float, trials: int, chance: float) -> None:
    found = binomial_quantile(probability, trials, chance)
    expected = int(stats.binom.ppf(probability, trials, chance))
    at_most = stats.binom.cdf(min(found, expected), trials, chance)
    # Where the probability of a count is the asked one to the last digits, either count is right.
    assert found == expected or at_most == pytest.approx(probability, rel=1e-9)


@given(st.floats(0, 1), st.floats(0.5, 1000), st.floats(0.5, 1000))
def test_the_incomplete_beta_function(x: float, a: float, b: float) -> None:
    assert regularised_beta(x, a, b) == pytest.approx(betainc(a, b, x), rel=1e-9, abs=1e-15)
