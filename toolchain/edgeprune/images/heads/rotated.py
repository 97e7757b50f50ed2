"""Rotated boxes: centre, size, and behind the scores or the class an angle in radians, clockwise.

Their overlap is that of two normal distributions, the probabilistic IoU (Llerena et al., arXiv 2106.06072),
as ultralytics has it, also for its NMS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgeprune.images.heads import detections, values
from edgeprune.images.heads.kind import Array, Difference, Floats, Outputs, require

if TYPE_CHECKING:
    from edgeprune.images.postprocess import Postprocess, Selection

_EPS = 1e-7
_BOX = [0, 1, 2, 3, 6]


def check_raw(outputs: Outputs, post: Postprocess) -> None:
    """Require (1, 5 + classes, anchors) of finite numbers; see `require`."""
    rows = 5 + len(post.names)
    require(outputs, lambda shape: len(shape) == 3 and shape[1] == rows, f"(1, {rows}, anchors)")


def check_end2end(outputs: Outputs, post: Postprocess) -> None:
    """Require (1, detections, 7) of finite numbers; see `require`."""
    require(outputs, lambda shape: len(shape) == 3 and shape[2] == 7, "(1, detections, 7)")


def decode_raw(outputs: Outputs, post: Postprocess, selection: Selection | None) -> Floats:
    """Choose, order and suppress the boxes of one image.

    A box goes if any more confident one of its class overlaps it, also one that goes itself (Fast NMS of
    YOLACT, arXiv 1904.02689).

    Returns:
        float32 (n, 7) of centre x and y, width, height in pixels of the input, score, class and angle, most
        confident first.
    """
    assert selection is not None
    columns = np.asarray(outputs[0][0], dtype=np.float32)
    label, anchor, score = detections.choose(columns, len(post.names), selection)
    boxes = columns[:, anchor].T[:, [0, 1, 2, 3, -1]]
    kept = _suppress(boxes, label, selection.iou)[: selection.max_detections]
    return np.column_stack([boxes[kept, :4], score[kept], label[kept], boxes[kept, 4]]).astype(np.float32)


def _suppress(boxes: Floats, label: npt.NDArray[np.intp], iou: float | None) -> npt.NDArray[np.intp]:
    if iou is None:
        return np.arange(len(boxes))
    over = (overlap(boxes[:, None], boxes[None]) > iou) & (label[:, None] == label[None])
    return np.flatnonzero(~np.triu(over, 1).any(axis=0))


def overlap(boxes: Array, others: Array) -> Array:
    """Return the probabilistic IoU of boxes (..., 5) of x, y, width, height, angle, broadcast by numpy."""
    one, other = (np.asarray(each, dtype=np.float64) for each in (boxes, others))
    (a, b, c), (d, e, f) = _covariance(one), _covariance(other)
    right, down = other[..., 0] - one[..., 0], other[..., 1] - one[..., 1]
    joint = (a + d) * (b + e) - (c + f) ** 2
    apart = ((a + d) * down**2 + (b + e) * right**2) / (joint + _EPS) / 4
    apart -= (c + f) * right * down / (joint + _EPS) / 2
    sizes = np.sqrt(np.clip(a * b - c**2, 0, None) * np.clip(d * e - f**2, 0, None))
    apart += np.log(joint / (4 * sizes + _EPS) + _EPS) / 2
    return np.asarray(1 - np.sqrt(1 - np.exp(-np.clip(apart, _EPS, 100)) + _EPS))


def _covariance(boxes: Array) -> tuple[Array, Array, Array]:
    wide, high = boxes[..., 2] ** 2 / 12, boxes[..., 3] ** 2 / 12
    cos, sin = np.cos(boxes[..., 4]), np.sin(boxes[..., 4])
    return wide * cos**2 + high * sin**2, wide * sin**2 + high * cos**2, (wide - high) * cos * sin


def _overlaps(rows: Floats, others: Floats, pair: tuple[Outputs, Outputs], post: Postprocess) -> Array:
    return overlap(rows[:, None, _BOX], others[None, :, _BOX])


def difference_raw(expected: Outputs, got: Outputs, post: Postprocess) -> Difference:
    """Return the largest differences of boxes, corners included, and of scores."""
    boxes, scores, angles = detections.split_difference(expected, got, post)
    turned = angles[0] * _reach(expected[0][0][2:4])
    return Difference(max(float(boxes.max(initial=0)), float(turned.max(initial=0))), float(scores.max()))


def difference_end2end(expected: Outputs, got: Outputs, post: Postprocess) -> Difference:
    """Return the same of rows that need no NMS."""
    plain = detections.difference_end2end(expected, got, post)
    rows, others, score = detections.pair_rows(expected, got)
    turned = np.abs(rows - others)[:, 6] * _reach(rows[:, 2:4].T)
    return Difference(max(plain.box_px or 0.0, float(turned.max(initial=0))), score)


def _reach(sizes: Array) -> Array:
    """Return how far the corners of boxes are from their centres: what an angle moves them by."""
    return np.asarray(np.hypot(*sizes) / 2)


def error_raw(outputs: Outputs, reference: Outputs, post: Postprocess) -> float:
    """Return the mean of two errors where the reference detects something, as `detections.error_raw`."""
    seen = detections.look_at(outputs, reference, post)
    one, other = (columns[[0, 1, 2, 3, -1]].T for columns in (seen.output, seen.wanted))
    return (seen.mean(1 - overlap(one, other)) + seen.scores) / 2


RAW = detections.make_head(check_raw, decode_raw, difference_raw, error_raw, _overlaps)
END2END = detections.make_head(
    check_end2end, detections.decode_rows, difference_end2end, values.error, _overlaps
)
