"""Engines of a fixed batch: any number of images goes through, and timing rotates over all of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.images.batches import in_batches, inputs_of, rows_of, whole_batches

COUNTS, BATCHES = st.integers(1, 40), st.integers(1, 9)


def numbered(count: int) -> np.ndarray:
    """Images that are told apart by their only value."""
    return np.arange(1, count + 1, dtype=np.float32).reshape(count, 1, 1, 1)


@given(COUNTS, BATCHES)
def test_any_number_of_images_goes_through_an_engine_of_a_fixed_batch(count: int, batch: int) -> None:
    def engine(images: np.ndarray) -> list[np.ndarray]:
        assert len(images) == batch
        return [images[:, 0, 0], -images]

    images = numbered(count)
    run = in_batches(engine, batch)
    parts = [images] if batch > 1 else [image[None] for image in images]
    first, second = (np.concatenate(each) for each in zip(*map(run, parts), strict=True))
    np.testing.assert_array_equal(first, images[:, 0, 0])
    np.testing.assert_array_equal(second, -images)


@given(COUNTS, BATCHES)
def test_the_last_image_fills_up_the_last_batch(count: int, batch: int) -> None:
    images = numbered(count)
    parts = list(whole_batches(images, batch))
    assert {len(part) for part in parts} == {batch}
    joined = np.concatenate(parts)
    np.testing.assert_array_equal(joined[:count], images)
    assert (joined[count:] == count).all()


@given(COUNTS, BATCHES)
def test_timing_rotates_over_as_many_inputs_as_images_and_over_all_of_them(count: int, batch: int) -> None:
    images = numbered(count)
    inputs = inputs_of(images, batch)
    assert len(inputs) == count
    for index, taken in enumerate(inputs):
        assert taken.shape == (batch, 1, 1, 1)
        np.testing.assert_array_equal(taken, images[rows_of(index, batch, count)])
    seen = {row for index in range(-(-count // batch)) for row in rows_of(index, batch, count)}
    assert seen == set(range(count)), "one pass shows every image"
    if batch == 1:
        assert [rows_of(index, 1, count) for index in range(count)] == [[index] for index in range(count)]
