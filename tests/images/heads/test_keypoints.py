"""Keypoints behind each detection: decoded, and compared by their similarity as ultralytics computes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ultralytics.utils.metrics import OKS_SIGMA, kpt_iou

from edgeprune.adapters.ultralytics.mean_ap import detections
from edgeprune.images.heads import HEADS
from edgeprune.images.heads.keypoints import AREA, sigmas_of, similarity
from edgeprune.images.postprocess import pose_estimator

NAMES, SHAPE = ("a", "b"), (4, 3)
POST = pose_estimator(NAMES, SHAPE, end2end=False)
HEAD = HEADS[POST.head]


def output(seed: int, anchors: int = 30) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres, sizes = rng.uniform(10, 54, (2, anchors)), rng.uniform(20, 40, (2, anchors))
    scores = rng.permutation(2 * anchors).reshape(2, anchors) / (2 * anchors)
    points = rng.uniform(0, 1, (4, 3, anchors))
    points[:, :2] = centres + (points[:, :2] - 0.5) * sizes
    return np.concatenate([centres, sizes, scores, points.reshape(12, -1)])[None].astype(np.float32)


def test_they_are_read_as_the_evaluator_reads_them() -> None:
    for seed in range(5):
        assert POST.evaluation is not None
        expected = detections([output(seed)], POST, POST.evaluation)
        found = HEAD.decode([output(seed)], POST, POST.evaluation)
        assert found.shape[1] == 18
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("shape", [(4, 3), (5, 2), (17, 3)])
def test_their_similarity_is_that_of_ultralytics(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.uniform(0, 60, (3, *shape)), rng.uniform(0, 60, (6, *shape))
    other[:3] = one + rng.uniform(-2, 2, one.shape)
    areas = rng.uniform(200, 900, 3)
    seen = np.concatenate([one[..., :2], np.ones((*one.shape[:2], 1))], -1)
    given = (torch.from_numpy(seen), torch.from_numpy(other), torch.from_numpy(areas))
    expected = kpt_iou(*given, sigma=list(sigmas_of(shape))).numpy()
    found = similarity(one.reshape(3, 1, -1), other.reshape(1, 6, -1), areas[:, None], shape)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(sigmas_of((17, 3)), OKS_SIGMA)


def test_a_detection_with_keypoints_elsewhere_is_not_shared() -> None:
    one, moved = output(1), output(1)
    moved[0, 6::3] += 25
    same, other = (HEAD.shared([one], [run], POST) for run in (one, moved))
    assert same is not None and other is not None
    assert same.shared == same.count > 0 == other.shared


def test_differences_are_in_pixels_and_errors_grow_with_them() -> None:
    one, moved, unsure = output(2), output(2), output(2)
    moved[0, 6, 3] += 0.5
    unsure[0, 8, 3] += 0.25
    assert HEAD.difference([one], [moved], POST).box_px == pytest.approx(0.5, abs=1e-4)
    assert HEAD.difference([one], [unsure], POST).score == pytest.approx(0.25, abs=1e-4)
    errors = []
    for by in (0, 1, 4, 16):
        moved = one.copy()
        moved[0, 6::3] += by
        errors.append(HEAD.error([moved], [one], POST))
    assert errors[0] == pytest.approx(0, abs=1e-9)
    assert errors == sorted(errors) and errors[-1] < 1 / 3 + 1e-6
    assert AREA == 0.53


def test_rows_without_duplicates_keep_what_is_behind_the_class() -> None:
    post = pose_estimator(NAMES, SHAPE, end2end=True)
    rows = np.zeros((1, 3, 18), np.float32)
    rows[0, :, :6] = [[0, 0, 9, 9, 0.3, 1], [1, 1, 5, 5, 0.8, 0], [0, 0, 1, 1, 0.1, 0]]
    rows[0, :, 6:] = np.arange(36).reshape(3, 12)
    found = HEADS[post.head].decode([rows], post, post.deployment)
    assert found[:, 4].tolist() == [pytest.approx(0.8), pytest.approx(0.3)]
    assert found[0, 6:].tolist() == list(range(12, 24))
    moved = rows.copy()
    moved[0, 1, 7] += 2
    assert HEADS[post.head].difference([rows], [moved], post).box_px == pytest.approx(2)
