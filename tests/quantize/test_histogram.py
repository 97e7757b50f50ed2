"""What is kept of a tensor: the same in any order, in constant memory, and never of what is no number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.quantize.histogram import BINS, Extent, Histogram

images = st.lists(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=30).map(np.float32), min_size=1, max_size=6
)


def histogram(parts: list[np.ndarray]) -> Histogram:
    kept = Histogram()
    for part in parts:
        kept.add(part)
    return kept


@given(images)
def test_a_histogram_grown_image_by_image_is_that_of_all_at_once_in_any_order(
    parts: list[np.ndarray],
) -> None:
    grown, turned, whole = histogram(parts), histogram(parts[::-1]), histogram([np.concatenate(parts)])
    for other in (turned, whole):
        assert grown.counts.tolist() == other.counts.tolist()
        assert (grown.exponent, grown.low, grown.high) == (other.exponent, other.low, other.high)
    assert grown.counts.sum() == sum(part.size for part in parts) and len(grown.counts) == 2 * BINS


@given(images)
def test_every_value_lies_in_its_bin(parts: list[np.ndarray]) -> None:
    values, kept = np.concatenate(parts), histogram(parts)
    bins = np.flatnonzero(kept.counts) - BINS
    assert {int(np.floor(float(value) / kept.width)) for value in values} == set(bins.tolist())


@pytest.mark.parametrize("kind", [Extent, Histogram])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(kind: type[Extent], value: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        kind().add(np.float32([0.0, value]))


def test_nothing_and_zeros_are_kept_too() -> None:
    for kept in (Extent(), Histogram()):
        kept.add(np.zeros((0, 3), np.float32))
        assert kept.largest == 0.0
        kept.add(np.zeros((1, 3), np.float32))
        assert (kept.low, kept.high, kept.largest) == (0.0, 0.0, 0.0)
