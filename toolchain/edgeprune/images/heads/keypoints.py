"""Keypoints of a detection, behind its scores or class: x and y in pixels, and how surely each is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeprune.images.heads import detections, values
from edgeprune.images.heads.kind import Array, Difference, Floats, Outputs, require

if TYPE_CHECKING:
    from edgeprune.images.postprocess import Postprocess

COCO_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087,
    0.087, 0.089, 0.089,
)  # fmt: skip
"""How precisely people mark each of the 17 keypoints of a person (https://cocodataset.org/#keypoints-eval)."""
AREA = 0.53
"""Of a box, the share that its object covers: what ultralytics' validator takes for it."""


def sigmas_of(shape: tuple[int, int]) -> tuple[float, ...]:
    """Return the deviation of each keypoint: COCO's for a person's 17, else one over their number."""
    return COCO_SIGMAS if tuple(shape) == (17, 3) else (1 / shape[0],) * shape[0]


def similarity(points: Array, others: Array, areas: Array, shape: tuple[int, int]) -> Array:
    """Return the object keypoint similarity (OKS) of keypoints (..., count * numbers), broadcast by numpy.

    Args:
        areas: of the objects, in square pixels.
    """
    one, other = (each.reshape(*each.shape[:-1], *shape)[..., :2] for each in (points, others))
    squares = ((one - other) ** 2).sum(-1)
    spread = (2 * np.asarray(sigmas_of(shape))) ** 2
    return np.asarray(np.exp(-squares / (spread * (areas[..., None] + 1e-7) * 2)).mean(-1))


def check_raw(outputs: Outputs, post: Postprocess) -> None:
    """Require (1, 4 + classes + numbers of keypoints, anchors) of finite numbers; see `require`."""
    rows = 4 + len(post.names) + int(np.prod(_shape(post)))
    require(outputs, lambda shape: len(shape) == 3 and shape[1] == rows, f"(1, {rows}, anchors)")


def check_end2end(outputs: Outputs, post: Postprocess) -> None:
    """Require (1, detections, 6 + numbers of keypoints) of finite numbers; see `require`."""
    width = 6 + int(np.prod(_shape(post)))
    require(outputs, lambda shape: len(shape) == 3 and shape[2] == width, f"(1, detections, {width})")


def _shape(post: Postprocess) -> tuple[int, int]:
    assert post.keypoints is not None
    return post.keypoints[0], post.keypoints[1]


def _overlaps(rows: Floats, others: Floats, pair: tuple[Outputs, Outputs], post: Postprocess) -> Array:
    """Return the OKS of one run's detections with those of the other, or the boxes' IoU if that is less."""
    areas = (rows[:, 2:4] - rows[:, :2]).prod(axis=1) * AREA
    alike = similarity(rows[:, None, 6:], others[None, :, 6:], areas[:, None], _shape(post))
    return np.minimum(alike, detections.box_overlaps(rows, others, pair, post))


def difference_raw(expected: Outputs, got: Outputs, post: Postprocess) -> Difference:
    """Return the largest differences of boxes and keypoints, and of all scores."""
    boxes, scores, extra = detections.split_difference(expected, got, post)
    return _with_keypoints(Difference(float(boxes.max(initial=0)), float(scores.max())), extra.T, post)


def difference_end2end(expected: Outputs, got: Outputs, post: Postprocess) -> Difference:
    """Return the same of rows that need no NMS."""
    rows, others, _ = detections.pair_rows(expected, got)
    plain = detections.difference_end2end(expected, got, post)
    return _with_keypoints(plain, np.abs(rows - others)[:, 6:], post)


def _with_keypoints(plain: Difference, apart: Array, post: Postprocess) -> Difference:
    points = apart.reshape(len(apart), *_shape(post))
    box_px = max(plain.box_px or 0.0, float(points[..., :2].max(initial=0)))
    return Difference(box_px, max(plain.score, float(points[..., 2:].max(initial=0))))


def error_raw(outputs: Outputs, reference: Outputs, post: Postprocess) -> float:
    """Return the mean of three errors: of boxes and scores as `detections.error_raw`, and 1 - OKS."""
    seen = detections.look_at(outputs, reference, post)
    one, other = detections.box_pair(seen)
    areas = seen.wanted[2:4].prod(axis=0) * AREA
    points, wanted = (columns[seen.extra :].T for columns in (seen.output, seen.wanted))
    alike = similarity(points, wanted, areas, _shape(post))
    return (seen.mean(1 - detections.overlap(one, other)) + seen.scores + seen.mean(1 - alike)) / 3


RAW = detections.make_head(check_raw, detections.decode_raw, difference_raw, error_raw, _overlaps)
END2END = detections.make_head(
    check_end2end, detections.decode_rows, difference_end2end, values.error, _overlaps
)
