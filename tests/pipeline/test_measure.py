"""What engines are timed on: enough different inputs, also of a data set of a few images."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.core.errors import DataError
from edgeprune.pipeline.measure import shift_copies


@pytest.mark.parametrize("count", [1, 3, 15, 16, 32])
def test_few_images_are_shifted_until_there_are_enough_different_ones(count: int) -> None:
    images = np.random.default_rng(0).random((count, 3, 8, 32), dtype=np.float32)
    found = shift_copies(images, 16)
    assert len({image.tobytes() for image in found}) == len(found) == max(count, 16)
    np.testing.assert_array_equal(found[:count], images)


def test_the_same_image_twice_counts_once() -> None:
    image = np.random.default_rng(0).random((1, 3, 8, 32), dtype=np.float32)
    found = shift_copies(np.repeat(image, 24, axis=0), 16)
    assert len({each.tobytes() for each in found}) >= 16


def test_images_of_one_colour_cannot_be_told_apart() -> None:
    with pytest.raises(DataError, match="these are of one colour each, and only 2 of them differ"):
        shift_copies(np.stack([np.zeros((3, 8, 32)), np.ones((3, 8, 32))]).astype(np.float32), 16)
