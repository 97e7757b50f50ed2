"""Rotated boxes: suppressed and compared by the probabilistic IoU, as ultralytics does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ultralytics.utils.metrics import batch_probiou

from edgeprune.adapters.ultralytics.mean_ap import detections
from edgeprune.images.heads import HEADS
from edgeprune.images.heads.rotated import overlap
from edgeprune.images.postprocess import Selection, rotated_detector

NAMES = ("a", "b")
POST = rotated_detector(NAMES, end2end=False)
HEAD = HEADS[POST.head]


def output(seed: int, anchors: int = 50) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres, sizes = rng.uniform(10, 54, (2, anchors)), rng.uniform(6, 30, (2, anchors))
    scores = rng.permutation(2 * anchors).reshape(2, anchors) / (2 * anchors)
    angles = rng.uniform(-0.7, 2.3, (1, anchors))
    return np.concatenate([centres, sizes, scores, angles])[None].astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    confidence=st.sampled_from([0.001, 0.25]),
    multi_label=st.booleans(),
    most=st.sampled_from([3, 300]),
)
def test_they_are_read_as_the_evaluator_reads_them(
    seed: int, confidence: float, multi_label: bool, most: int
) -> None:
    selection = Selection(confidence, 0.7, most, multi_label)
    expected = detections([output(seed)], POST, selection).numpy()
    found = HEAD.decode([output(seed)], POST, selection)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_their_overlap_is_that_of_ultralytics() -> None:
    one, other = (output(seed)[0, [0, 1, 2, 3, -1]].T.astype(np.float64) for seed in (1, 2))
    expected = batch_probiou(one, other).numpy()
    np.testing.assert_allclose(overlap(one[:, None], other[None]), expected, atol=1e-6)


def test_a_box_that_is_turned_is_not_shared_and_its_corners_move() -> None:
    one, turned = output(3), output(3)
    turned[0, -1] += np.pi / 2
    long = one[0, 2] > 2 * one[0, 3]
    for run in (one, turned):
        run[0, 4:6] *= long  # of a square nothing changes
    same, other = (HEAD.shared([one], [run], POST) for run in (one, turned))
    assert same is not None and other is not None
    assert same.shared == same.count > 0 == other.shared
    moved = one.copy()
    moved[0, -1, 0] += 0.1
    reach = np.hypot(*one[0, 2:4, 0]) / 2
    assert HEAD.difference([one], [moved], POST).box_px == pytest.approx(0.1 * reach, rel=1e-3)


def test_the_error_grows_with_the_angle() -> None:
    one = output(4)
    errors = []
    for by in (0.0, 0.05, 0.2, 0.6):
        turned = one.copy()
        turned[0, -1] += by
        errors.append(HEAD.error([turned], [one], POST))
    assert errors[0] < 1e-3  # the probabilistic IoU of a box with itself is a hair below 1
    assert errors == sorted(errors)


def test_rows_without_duplicates_keep_their_angle() -> None:
    post = rotated_detector(NAMES, end2end=True)
    assert post.boxes == "xywh"
    rows = np.float32([[[20, 20, 9, 9, 0.3, 1, 0.5], [10, 10, 5, 5, 0.8, 0, 1.5], [0, 0, 1, 1, 0.1, 0, 0]]])
    found = HEADS[post.head].decode([rows], post, post.deployment)
    np.testing.assert_array_equal(found, rows[0, [1, 0]])
    turned = rows.copy()
    turned[0, 1, 6] += 0.2
    assert HEADS[post.head].difference([rows], [turned], post).box_px == pytest.approx(0.1 * np.hypot(5, 5))
