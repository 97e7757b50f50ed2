"""Masks of coefficients and prototypes are those of ultralytics; they are shared and compared by shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ultralytics.utils.ops import process_mask

from edgeprune.adapters.ultralytics.mean_ap import detections
from edgeprune.images.heads import HEADS
from edgeprune.images.postprocess import segmenter

NAMES = ("a", "b")
POST = segmenter(NAMES, end2end=False)
HEAD = HEADS[POST.head]


def outputs(seed: int, anchors: int = 40) -> list[np.ndarray]:
    """Return columns of centre, size, two scores and 8 coefficients, and prototypes for an input of 64 px."""
    rng = np.random.default_rng(seed)
    centres, sizes = rng.uniform(10, 54, (2, anchors)), rng.uniform(4, 40, (2, anchors))
    scores = rng.permutation(2 * anchors).reshape(2, anchors) / (2 * anchors)
    columns = np.concatenate([centres, sizes, scores, rng.standard_normal((8, anchors))])
    return [columns[None].astype(np.float32), rng.standard_normal((1, 8, 16, 16)).astype(np.float32)]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_an_application_reads_the_masks_that_ultralytics_makes(seed: int) -> None:
    given_ = outputs(seed)
    rows, masks = HEAD.read(given_, POST, POST.deployment)
    assert POST.deployment is not None
    expected = detections(given_, POST, POST.deployment)
    np.testing.assert_allclose(rows, expected.numpy(), atol=1e-4)
    theirs = process_mask(torch.from_numpy(given_[1][0]), expected[:, 6:], expected[:, :4], (64, 64))
    assert masks.dtype == bool and np.array_equal(masks, theirs.numpy().astype(bool))


def test_a_detection_whose_mask_is_another_is_not_shared() -> None:
    one = outputs(1)
    turned = [one[0].copy(), one[1]]
    turned[0][0, 6:] *= -1  # the same boxes, and of each mask what it left out
    same, other = HEAD.shared(one, one, POST), HEAD.shared(one, turned, POST)
    assert same is not None and other is not None
    assert same.shared == same.count > 0
    assert other.shared < 0.3 * other.count


def test_the_error_of_masks_shows_beside_boxes_and_scores() -> None:
    one = outputs(2)
    assert HEAD.error(one, one, POST) == pytest.approx(0, abs=1e-9)
    errors = []
    for share in (0.05, 0.5, 2.0):
        noise = np.random.default_rng(0).standard_normal(one[1].shape).astype(np.float32)
        errors.append(HEAD.error([one[0], one[1] + share * noise], one, POST))
    assert 0 < errors[0] < errors[1] < errors[2] < 1 / 3
    assert HEAD.difference(one, [one[0], one[1] * 1.5], POST).score == pytest.approx(0.5)
    assert HEAD.difference(one, one, POST).score == 0


def test_rows_without_duplicates_go_with_the_same_prototypes() -> None:
    post = segmenter(NAMES, end2end=True)
    head, (columns, prototypes) = HEADS[post.head], outputs(3, 6)
    boxes = columns[0, :4].T
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    score = np.array([[0.9], [0.8], [0.7], [0.6], [0.5], [0.1]], np.float32)
    rows = np.concatenate([corners, score, np.ones((6, 1)), columns[0, 6:].T], 1).astype(np.float32)[None]
    found, masks = head.read([rows, prototypes], post, post.deployment)
    np.testing.assert_array_equal(found, rows[0, :5])
    theirs = process_mask(
        torch.from_numpy(prototypes[0]),
        torch.from_numpy(found[:, 6:]),
        torch.from_numpy(found[:, :4]),
        (64, 64),
    )
    assert np.array_equal(masks, theirs.numpy().astype(bool))
    assert head.difference([rows, prototypes], [rows[:, [1, 0, 2, 3, 4, 5]], prototypes], post).box_px == 0
    shared = head.shared([rows, prototypes], [rows, prototypes], post)
    assert shared is not None and shared.shared == shared.count == 10
