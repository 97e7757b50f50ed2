"""The leak rule on made-up memory: a megabyte a minute is found, what only looks like growth is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.bench.leak import LEAST_SAMPLES, growth_of
from edgeprune.records.figures import Growth

SECONDS = np.arange(600)
MINUTES = SECONDS / 60
seeds = st.integers(0, 2**32 - 1)


def _judged(memory: np.ndarray, minutes: np.ndarray = MINUTES) -> Growth:
    found = growth_of(list(minutes), list(memory))
    assert found is not None
    return found


def _noise(seed: int, deviation: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, deviation, len(SECONDS))


@settings(max_examples=25, deadline=None)
@given(seed=seeds, slope=st.floats(1, 50), deviation=st.floats(0, 1))
def test_a_megabyte_a_minute_and_more_is_found_and_its_slope_recovered(
    seed: int, slope: float, deviation: float
) -> None:
    found = _judged(100 + slope * MINUTES + _noise(seed, deviation))
    assert found.leak
    assert found.mb_per_minute == pytest.approx(slope, abs=0.1)
    assert found.lower <= found.mb_per_minute <= found.upper


@settings(max_examples=50, deadline=None)
@given(seed=seeds, level=st.floats(20, 2000), deviation=st.floats(0, 20))
def test_noise_alone_is_never_a_leak(seed: int, level: float, deviation: float) -> None:
    found = _judged(level + _noise(seed, deviation))
    assert found.leak is False
    assert found.lower <= 0 <= found.upper


@settings(max_examples=25, deadline=None)
@given(seed=seeds, slope=st.floats(-50, 0.1))
def test_memory_that_falls_or_hardly_grows_is_no_leak(seed: int, slope: float) -> None:
    assert _judged(600 + slope * MINUTES + _noise(seed, 0.2)).leak is False


@settings(max_examples=25, deadline=None)
@given(seed=seeds, at=st.integers(0, 599), size=st.floats(1, 500))
def test_one_step_is_no_leak(seed: int, at: int, size: float) -> None:
    assert _judged(100 + size * (at <= SECONDS) + _noise(seed, 0.1)).leak is False


@pytest.mark.parametrize("seconds", [5, 20, 60])
def test_what_an_allocator_takes_at_first_is_no_leak(seconds: int) -> None:
    assert _judged(100 + 20 * (1 - np.exp(-SECONDS / seconds)) + _noise(1, 0.05)).leak is False


@pytest.mark.parametrize("period", [7, 30, 120, 300])
def test_a_saw_tooth_is_no_leak(period: int) -> None:
    assert _judged(100 + 10 * (SECONDS % period) / period + _noise(2, 0.05)).leak is False


def test_a_leak_that_first_fills_what_the_heap_had_free_is_found() -> None:
    assert _judged(100 + np.maximum(0, MINUTES - 4) + _noise(3, 0.05)).leak


def test_a_leak_in_lumps_is_found() -> None:
    assert _judged(100 + 2.0 * (MINUTES // 2) + _noise(4, 0.05)).leak


def test_too_few_readings_are_not_judged() -> None:
    few = LEAST_SAMPLES - 1
    found = _judged(100 + 30 * MINUTES[:few], MINUTES[:few])
    assert found.leak is None
    assert found.mb_per_minute == pytest.approx(30)
    assert growth_of([0.0, 0.1], [1.0, 2.0]) is None


def test_hours_of_readings_are_thinned_and_judged_alike() -> None:
    minutes = np.arange(5 * 3600) / 60
    found = _judged(100 + minutes + np.random.default_rng(5).normal(0, 1, len(minutes)), minutes)
    assert found.leak
    assert found.n == 18000
    assert found.mb_per_minute == pytest.approx(1, abs=0.01)
