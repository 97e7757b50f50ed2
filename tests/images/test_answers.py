"""What a network answers to image files: the same in batches as one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeprune.images.answers import answers, load_batches
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess, load_input

SPEC = Preprocess((32, 64))


def describe(images: np.ndarray) -> list[np.ndarray]:
    """Say of each image its mean colour."""
    return [images.mean(axis=(2, 3))]


@pytest.mark.parametrize("batch", [1, 2, 5, 8])
def test_outputs_come_one_by_one_whatever_the_batch(tiny: Dataset, batch: int) -> None:
    paths, taken = tiny.images["val"], []

    def run(images: np.ndarray) -> list[np.ndarray]:
        taken.append(len(images))
        return describe(images)

    found = list(answers(run, paths, replace(SPEC, batch=batch)))
    assert sum(taken) == len(found) == len(paths) and max(taken) == min(batch, len(paths))
    for path, (tensor, placement, outputs) in zip(paths, found, strict=True):
        expected, place = load_input(path, SPEC)
        np.testing.assert_array_equal(tensor, expected)
        assert placement == place
        np.testing.assert_allclose(outputs[0], describe(expected)[0], rtol=1e-5)


def test_batches_are_whole(tiny: Dataset) -> None:
    paths = tiny.images["val"]
    parts = list(load_batches(paths, replace(SPEC, batch=2)))
    assert [part.shape for part in parts] == [(2, 3, 32, 64)] * 3
    np.testing.assert_array_equal(parts[2][0], parts[2][1])
    np.testing.assert_array_equal(parts[2][:1], load_input(paths[4], SPEC)[0])
