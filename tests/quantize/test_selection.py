"""Choosing calibration images: the same ones each time, and different ones where that is asked for."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from conftest import write_dataset
from edgeprune.core.errors import DataError
from edgeprune.images.dataset import Dataset, load_dataset
from edgeprune.images.preprocess import Preprocess, read_image
from edgeprune.quantize.selection import (
    balance_classes,
    choose_images,
    farthest_first,
    features,
    images_sha256,
    require_content,
)

SPEC = Preprocess(64)
POINTS = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.floats(-10, 10, width=32)
)


@given(points=POINTS, count=st.integers(1, 15))
def test_a_farthest_first_walk_takes_each_point_once_and_gets_closer(points: np.ndarray, count: int) -> None:
    picked = farthest_first(points, count)
    assert len(picked) == len(set(picked)) == min(count, len(points))
    reach = []
    for step in range(1, len(picked)):
        known = points[picked[:step]]
        distances = np.linalg.norm(points[:, None] - known[None], axis=2).min(axis=1)
        reach.append(distances.max())
        assert distances[picked[step]] == pytest.approx(distances.max(), abs=1e-4)
    assert all(later <= earlier + 1e-4 for earlier, later in pairwise(reach))


CLASSES = st.lists(st.frozensets(st.integers(0, 4)), min_size=1, max_size=25)


@given(classes=CLASSES, count=st.integers(1, 30), seed=st.integers(0, 3))
def test_every_class_is_shown_before_one_is_shown_for_its_own_sake_again(
    classes: list[frozenset[int]], count: int, seed: int
) -> None:
    picked = balance_classes(classes, count, seed)
    assert len(picked) == len(set(picked)) == min(count, len(classes))
    assert picked == balance_classes(classes, count, seed)
    known = frozenset().union(*classes)
    if count >= len(known):
        assert frozenset().union(*(classes[index] for index in picked)) == known


def test_a_rare_class_is_shown_as_often_as_a_common_one() -> None:
    classes = [frozenset({0})] * 90 + [frozenset({1})] * 5 + [frozenset({2})] * 5
    picked = balance_classes(classes, 15, seed=0)
    assert [sum(name in classes[index] for index in picked) for name in range(3)] == [5, 5, 5]


def test_diverse_takes_the_one_image_that_is_not_like_the_others(tmp_path: Path) -> None:
    data = load_dataset(write_dataset(tmp_path / "data"))
    odd = data.images["train"][7]
    cv2.imwrite(str(odd), 255 - read_image(odd))
    first = choose_images(data, "train", 2, "diverse", 0, SPEC)
    assert odd in first
    assert first == choose_images(data, "train", 2, "diverse", 0, SPEC) == tuple(sorted(first))
    walk = choose_images(data, "train", 12, "diverse", 0, SPEC)
    assert walk == data.images["train"]


@pytest.mark.parametrize("select", ["random", "diverse", "balanced"])
def test_no_image_is_chosen_twice(tiny: Dataset, select: str) -> None:
    for count in (1, 5, 12, 99):
        images = choose_images(tiny, "train", count, select, 3, SPEC)  # type: ignore[arg-type]
        assert len(set(images)) == len(images) == min(count, 12)
        assert set(images) <= set(tiny.images["train"])


def test_classifiers_are_balanced_by_folder(digits: Dataset) -> None:
    images = choose_images(digits, "train", 6, "balanced", 0, SPEC)
    assert sorted(digits.class_of(image) for image in images) == [0, 0, 1, 1, 2, 2]


def test_images_are_compared_at_any_size_and_shape() -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 3), (7, 300, 3), (64, 64, 3)):
        point = features(rng.integers(0, 256, shape, dtype=np.uint8), SPEC)
        assert point.shape == (792,) and point.dtype == np.float32 and np.isfinite(point).all()


def test_the_hash_is_of_the_contents(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        path.write_bytes(path.name.encode())
    before = images_sha256(paths)
    stamp = paths[0].stat()
    paths[0].write_bytes(b"other")  # as long as before
    os.utime(paths[0], ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert images_sha256(paths) != before
    assert images_sha256(paths[::-1]) != images_sha256(paths)
    with pytest.raises(DataError, match=r"gone\.png: cannot be read"):
        images_sha256([tmp_path / "gone.png"])


def test_one_image_that_shows_something_is_enough(tmp_path: Path) -> None:
    blank, real = tmp_path / "blank.png", tmp_path / "real.png"
    cv2.imwrite(str(blank), np.full((30, 40, 3), 90, np.uint8))
    cv2.imwrite(str(real), np.arange(30 * 40 * 3, dtype=np.uint8).reshape(30, 40, 3))
    require_content([blank, real])
    with pytest.raises(DataError, match=r"each of the 2 images is of one colour, .*blank\.png"):
        require_content([blank, blank])
    with pytest.raises(DataError, match="no images"):
        require_content([])
