"""Our own statistics of ranks are SciPy's, with and without ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, rankdata, theilslopes

from edgeprune.core.ranks import average_ranks, kendall_tau, theil_sen

numbers = st.one_of(st.integers(-5, 5).map(float), st.floats(-1e6, 1e6, width=32))
series = st.lists(numbers, min_size=3, max_size=40).map(np.asarray)


@given(series)
def test_average_ranks(values: np.ndarray) -> None:
    assert average_ranks(values).tolist() == rankdata(values).tolist()


@given(series, st.randoms(use_true_random=False))
def test_kendalls_tau(values: np.ndarray, random: object) -> None:
    other = np.asarray([random.choice(values.tolist()) for _ in values])  # type: ignore[attr-defined]
    expected = kendalltau(values, other).statistic
    assert kendall_tau(values, other) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_kendalls_tau_of_a_constant_is_not_known() -> None:
    assert math.isnan(kendall_tau(np.ones(5), np.arange(5.0)))


@given(series, st.sampled_from([0.9, 0.95, 0.98]))
def test_theil_and_sens_slope(values: np.ndarray, confidence: float) -> None:
    times = np.arange(len(values)) / 7
    found, expected = theil_sen(values, times, confidence), theilslopes(values, times, confidence)
    assert found == pytest.approx((expected.slope, expected.low_slope, expected.high_slope))
