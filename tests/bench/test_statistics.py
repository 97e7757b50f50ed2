"""Percentiles, spread and FPS as properties of any samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.bench.statistics import (
    OUTLIER_MADS,
    PERCENTILE_MINIMA,
    TAIL_MINIMUM,
    achieved_fps,
    latency_of,
    percentile_bound,
)

samples = st.lists(st.integers(1_000, 10**9), min_size=1, max_size=800)


@given(samples)
def test_percentiles_are_ordered_and_inside_the_samples(taken: list[int]) -> None:
    latency = latency_of(taken)
    shown = [latency.min, latency.p50, latency.p90, latency.p95, latency.p99, latency.max]
    known = [value for value in shown if value is not None]
    assert known == sorted(known)
    assert latency.min == pytest.approx(min(taken) / 1e6)
    assert latency.max == pytest.approx(max(taken) / 1e6)
    assert latency.min <= latency.mean * (1 + 1e-9)
    assert latency.mean <= latency.max * (1 + 1e-9)
    assert latency.n == len(taken)


@given(samples)
def test_a_percentile_below_its_minimum_count_is_withheld(taken: list[int]) -> None:
    latency = latency_of(taken)
    for percent, least in PERCENTILE_MINIMA.items():
        value = getattr(latency, f"p{percent}")
        assert (value is None) == (len(taken) < least)
        if value is not None:
            assert value == pytest.approx(np.percentile(taken, percent) / 1e6)


@pytest.mark.parametrize("n", [TAIL_MINIMUM - 1, TAIL_MINIMUM])
def test_the_tail_needs_thousands_of_samples(n: int) -> None:
    latency = latency_of([1_000_000 + i for i in range(n)])
    assert (latency.p999 is None) == (n < 6636)
    assert latency.p999 is None or latency.p99 < latency.p999 <= latency.max


@given(samples, st.integers(2, 50))
def test_a_slower_clock_scales_everything_but_the_counts(taken: list[int], factor: int) -> None:
    one, many = latency_of(taken), latency_of([sample * factor for sample in taken])
    assert many.p50 == pytest.approx(one.p50 * factor)
    assert many.cov == pytest.approx(one.cov, abs=1e-9)


def test_outliers_are_counted_and_kept() -> None:
    steady = [1_000_000 + 1_000 * (i % 11 - 5) for i in range(200)]
    mad = 3_000
    spikes = [1_000_000 + int((OUTLIER_MADS + 1) * mad), 50_000_000]
    latency = latency_of([*steady, *spikes])
    assert latency.outliers == 2
    assert latency.n == 202
    assert latency.max == 50.0


def test_fps_is_completed_over_elapsed(make_block) -> None:
    # One query stalls for a second: 1/median would claim 1000 FPS.
    stalled = make_block([1.0] * 99 + [1000.0])
    other = make_block([1.0] * 100, elapsed_ns=200_000_000)  # half of the loop was not spent in queries
    assert achieved_fps([stalled]) == pytest.approx(100 / 1.099)
    assert achieved_fps([stalled, other]) == pytest.approx(200 / 1.299)


@given(samples)
def test_the_bound_of_a_percentile_is_a_sample_above_it(taken: list[int]) -> None:
    latency = latency_of(taken)
    for percent, bound in ((90, latency.p90_bound), (99, latency.p99_bound)):
        if bound is not None:
            assert np.percentile(taken, percent) / 1e6 <= bound * (1 + 1e-9)
            assert bound <= latency.max
        else:
            assert len(taken) < PERCENTILE_MINIMA[percent]


@pytest.mark.parametrize(("n", "percent"), [(64, 90), (200, 90), (662, 99), (2000, 99)])
def test_the_bound_covers_the_true_percentile_99_times_in_100(n: int, percent: int) -> None:
    drawn = np.sort(np.random.default_rng(n).exponential(size=(4000, n)))
    true = -np.log(1 - percent / 100)
    covered = np.mean([(percentile_bound(row, percent) or 0.0) >= true for row in drawn])
    assert covered >= 0.985


def test_a_bound_that_no_sample_can_give_is_none() -> None:
    assert percentile_bound(np.arange(43.0), 90) is None  # .9 ** 43 > .01
    assert percentile_bound(np.arange(44.0), 90) == 43.0
