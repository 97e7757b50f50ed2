"""Augmented batches hold every picture once, the same for the same seed, and only what was asked for."""

from __future__ import annotations

import numpy as np
import torch

from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.models.augment import Augmentation, batches, mixed, mosaic

STILL = Augmentation(flip=0.0, zoom=0.0, colour=(0.0, 0.0, 0.0))
SPEC = Preprocess(32)


def test_every_picture_comes_once_in_an_order_of_the_seed(tiny: Dataset) -> None:
    paths = tiny.images["train"]
    found = list(batches(paths, SPEC, 5, 1, STILL))
    assert [tuple(each.shape) for each in found] == [(5, 3, 32, 32), (5, 3, 32, 32), (2, 3, 32, 32)]
    expected = sorted(load_input(path, SPEC)[0].tobytes() for path in paths)
    assert sorted(image.numpy().tobytes() for image in torch.cat(found)) == expected


def test_the_seed_decides_and_pictures_change(tiny: Dataset) -> None:
    paths = tiny.images["train"]
    one, same, other = (
        torch.cat(list(batches(paths, SPEC, 12, seed, Augmentation(mixing=0.5)))) for seed in (3, 3, 4)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.min() >= 0 and one.max() <= 1
    plain = {load_input(path, SPEC)[0].tobytes() for path in paths}
    assert sum(image.numpy().tobytes() in plain for image in one) < 4


def test_mixing_takes_a_rectangle_of_the_picture_before() -> None:
    images = np.stack([np.full((3, 16, 16), number, dtype=np.float32) for number in range(4)])
    found = mixed(images, np.random.default_rng(0), 1.0)
    for index in range(4):
        assert set(np.unique(found[index])) == {index, (index - 1) % 4}
    assert np.array_equal(mixed(images, np.random.default_rng(0), 0.0), images)


def test_a_mosaic_shows_four_pictures_whole_side_by_side(tiny: Dataset) -> None:
    pictures = [np.full((10, 20, 3), 50 * number, dtype=np.uint8) for number in range(1, 5)]
    found = mosaic(pictures, Preprocess((64, 96)), np.random.default_rng(0))
    assert found.shape == (64, 96, 3)
    assert {50, 100, 150, 200} <= set(np.unique(found).tolist()) <= {50, 100, 114, 150, 200}
    paths = tiny.images["train"]
    still = Augmentation(flip=0.0, zoom=0.0, colour=(0.0, 0.0, 0.0), mosaic=1.0)
    (batch,) = batches(paths, SPEC, len(paths), 0, still)
    plain = {load_input(path, SPEC)[0].tobytes() for path in paths}
    assert not plain & {image.numpy().tobytes() for image in batch}
