"""mAP as YOLOv5 computes it: its matching and its curve, by example and against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.adapters.yolov5.accuracy import average_precision, cut, match
from edgeprune.images.preprocess import Placement


def test_a_detection_whose_best_target_is_taken_gets_no_other_one() -> None:
    overlap = np.array([[0.9, 0.8], [0.0, 0.7]])  # targets by detections, the more confident one first
    right = match(overlap)
    assert right[0].tolist() == [True] * 9 + [False]
    assert not right[1].any()


def test_of_two_on_one_target_the_first_that_overlaps_enough_is_right() -> None:
    right = match(np.array([[0.6, 0.8]]))
    assert right[:, 0].tolist() == [True, False]
    assert right[:, 5].tolist() == [False, True]


@given(st.integers(0, 6), st.integers(0, 8), st.integers(0, 99))
def test_no_target_and_no_detection_counts_twice(targets: int, detections: int, seed: int) -> None:
    overlap = np.random.default_rng(seed).random((targets, detections))
    right = match(overlap)
    assert right.shape == (detections, 10)
    assert (right.sum(0) <= targets).all()
    assert (right[:, 1:] <= right[:, :-1]).sum() >= 0
    for column, threshold in enumerate(np.linspace(0.5, 0.95, 10)):
        assert all(overlap[:, found].max() >= threshold for found in np.flatnonzero(right[:, column]))


def test_precision_by_hand() -> None:
    right = np.zeros((3, 10), dtype=bool)
    right[[0, 2], 0] = True  # right, wrong, right: of four targets
    found = average_precision(
        right, np.array([0.9, 0.8, 0.7]), np.array([1.0, 1.0, 1.0]), np.array([1.0, 1.0, 1.0, 1.0])
    )
    # Precision 1 up to recall 0.25, then a line to 2/3 at 0.5, then on to 0 at 1.
    recalls = np.linspace(0, 1, 101)
    curve = np.interp(recalls, [0, 0.25, 0.25, 0.5, 1], [1, 1, 2 / 3, 2 / 3, 0])
    assert list(found) == [1]
    assert found[1][0] == pytest.approx(np.trapezoid(curve, recalls), abs=0.01)
    assert found[1][5] == 0


def test_boxes_end_at_the_border_of_the_image() -> None:
    boxes = torch.tensor([[0.0, 0.0, 100.0, 100.0]])
    assert cut(boxes, Placement(80, 60, 10, 20)).tolist() == [[10, 20, 90, 80]]
