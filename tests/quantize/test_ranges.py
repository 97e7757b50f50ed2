"""Histograms that grow, and the ranges that calibration methods read from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgeprune.quantize.histogram import BINS, Extent, Histogram
from edgeprune.quantize.ranges import METHODS

FLOATS = st.floats(-(2.0**80), 2.0**80, width=32)
IMAGES = st.lists(arrays.arrays(np.float32, st.integers(0, 40), elements=FLOATS), min_size=1, max_size=6)
KEEPS_ALL = {name for name, method in METHODS.items() if method.statistic is Extent}


def seen(method: str, images: list[np.ndarray]) -> Extent:
    statistic = METHODS[method].statistic()
    for image in images:
        statistic.add(image)
    return statistic


@given(IMAGES)
def test_a_histogram_of_a_stream_is_the_one_of_all_at_once(images: list[np.ndarray]) -> None:
    stream, backwards, whole = Histogram(), Histogram(), Histogram()
    for image in images:
        stream.add(image)
    for image in reversed(images):
        backwards.add(image)
    whole.add(np.concatenate(images))
    for other in (backwards, whole):
        assert (stream.low, stream.high, stream.exponent) == (other.low, other.high, other.exponent)
        np.testing.assert_array_equal(stream.counts, other.counts)
    assert stream.counts.sum() == sum(image.size for image in images)
    assert stream.counts.shape == (2 * BINS,)


@given(IMAGES)
def test_every_value_lies_in_its_bin(images: list[np.ndarray]) -> None:
    values = np.concatenate(images).astype(np.float64)
    stream = seen("mse", images)
    assert isinstance(stream, Histogram)
    edges = np.arange(-BINS, BINS + 1) * stream.width
    np.testing.assert_array_equal(np.histogram(values, edges)[0], stream.counts)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [False, True])
@given(images=IMAGES)
def test_a_range_holds_zero_and_nothing_that_was_not_seen(
    method: str, symmetric: bool, images: list[np.ndarray]
) -> None:
    values = np.concatenate([np.zeros(1, np.float32), *images])
    low, high = METHODS[method].range(seen(method, images), symmetric)
    assert np.isfinite([low, high]).all()
    assert low <= 0 <= high
    if symmetric:
        assert -low == high <= np.abs(values).max()
    else:
        assert values.min() <= low and high <= values.max()
    if method in KEEPS_ALL:
        assert max(-low, high) == np.abs(values).max()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [False, True])
@given(images=IMAGES)
def test_a_range_is_of_no_width_only_where_all_is_zero(
    method: str, symmetric: bool, images: list[np.ndarray]
) -> None:
    low, high = METHODS[method].range(seen(method, images), symmetric)
    assert (high > low) == any(image.any() for image in images)


def bell(size: int = 200_000) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(size).astype(np.float32)


@pytest.mark.parametrize("method", sorted(METHODS.keys() - KEEPS_ALL))
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_single_outlier_is_cut_off(method: str, symmetric: bool) -> None:
    low, high = METHODS[method].range(seen(method, [bell(), np.float32([40])]), symmetric)
    assert 2 < high < 35 and -35 < low < -2


def error(values: np.ndarray, low: float, high: float) -> float:
    """Mean squared error of 8 bit asymmetric quantization, as a runtime computes it."""
    scale = (high - low) / 255
    zero = np.round(-low / scale)
    integers = np.clip(np.round(values / scale) + zero, 0, 255)
    return float(((values - (integers - zero) * scale) ** 2).mean())


def test_mse_has_a_smaller_error_than_any_other_threshold() -> None:
    values = np.random.default_rng(1).laplace(size=100_000).astype(np.float32)
    low, high = METHODS["mse"].range(seen("mse", [values]), False)
    found = error(values, low, high)
    largest = float(np.abs(values).max())
    for share in np.linspace(0.15, 1, 30):
        cut = max(float(values.min()), -share * largest), min(float(values.max()), share * largest)
        assert found <= error(values, *cut) * 1.02  # thresholds are tried on a grid


def test_the_percentile_is_that_of_the_values() -> None:
    values = bell()
    seen_values = seen("percentile", [values])
    low, high = METHODS["percentile"].range(seen_values, False)
    assert np.allclose([low, high], np.percentile(values, [0.005, 99.995]), atol=0.05)
    _, high = METHODS["percentile"].range(seen_values, True)
    assert np.isclose(high, np.percentile(np.abs(values), 99.99), atol=0.05)


def test_what_silu_leaves_below_zero_is_kept() -> None:
    x = bell() * 4
    silu = x / (1 + np.exp(-x))
    for method in METHODS:
        low, _ = METHODS[method].range(seen(method, [silu.astype(np.float32)]), False)
        assert -0.279 < low < -0.25  # the least value of SiLU is -0.2785


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(method: str, value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        seen(method, [np.float32([1, value])])
