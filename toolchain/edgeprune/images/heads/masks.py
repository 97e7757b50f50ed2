"""Instance masks: detections with coefficients, and prototypes that these combine (YOLACT, arXiv 1904.02689).

The first output has the coefficients behind the scores or behind the class; the second is (1, n, h, w), a
quarter of the input in height and width. The sum of prototypes, each times its coefficient, is above 0 on the
object, and counts inside of its box only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeprune.core.errors import CompileError
from edgeprune.images.heads import detections, values
from edgeprune.images.heads.kind import Array, Difference, Floats, Outputs, require

if TYPE_CHECKING:
    from edgeprune.images.postprocess import Postprocess

STRIDE = 4
"""Pixels of the input that one of the prototypes' is wide and high."""
MOST_SEEN = 30  # anchors whose masks are compared, the most confident ones
NEAR = 0.5  # IoU of boxes whose masks are compared


def check_raw(outputs: Outputs, post: Postprocess) -> None:
    """Require (1, 4 + classes + n, anchors) and (1, n, height, width) of finite numbers; see `require`."""
    rows = 4 + len(post.names) + _coefficients(outputs)
    require(outputs, lambda shape: len(shape) == 3 and shape[1] == rows, f"(1, {rows}, anchors)")


def check_end2end(outputs: Outputs, post: Postprocess) -> None:
    """Require (1, detections, 6 + n) and (1, n, height, width) of finite numbers; see `require`."""
    width = 6 + _coefficients(outputs)
    require(outputs, lambda shape: len(shape) == 3 and shape[2] == width, f"(1, detections, {width})")


def _coefficients(outputs: Outputs) -> int:
    if len(outputs) < 2:
        raise CompileError("the network has 1 output; of masks 2 are expected, the second with prototypes")
    require(outputs[1:], lambda shape: len(shape) == 4, "(1, prototypes, height, width)")
    return int(outputs[1].shape[1])


def masks(outputs: Outputs, rows: Floats) -> Array:
    """Return the masks of detections, bool (n, h, w) in the size of the prototypes."""
    logits = rows[:, 6:] @ _flat(outputs[1])
    return (logits > 0).reshape(-1, *outputs[1].shape[2:]) & _inside(rows, outputs[1])


def _flat(prototypes: Array) -> Floats:
    return np.asarray(prototypes[0], dtype=np.float32).reshape(prototypes.shape[1], -1)


def _inside(rows: Array, prototypes: Array) -> Array:
    """Return where the pixels of prototypes are inside of boxes (n, 4 or more), bool (n, h, w)."""
    height, width = prototypes.shape[2:]
    left, top, right, bottom = rows[:, :4].T[:, :, None] / STRIDE
    across, down = np.arange(width), np.arange(height)
    columns, lines = (across >= left) & (across < right), (down >= top) & (down < bottom)
    return np.asarray(lines[:, :, None] & columns[:, None, :])


def _overlaps(rows: Floats, others: Floats, pair: tuple[Outputs, Outputs], post: Postprocess) -> Array:
    """Return the IoU of masks where the boxes overlap by half or more; 0 elsewhere."""
    boxes = detections.box_overlaps(rows, others, pair, post)
    near = np.flatnonzero((boxes >= NEAR).any(axis=0))
    mine, theirs = (
        masks(outputs, found).reshape(len(found), -1).astype(np.float32)
        for outputs, found in zip(pair, (rows, others[near]), strict=True)
    )
    common = mine @ theirs.T
    union = mine.sum(1)[:, None] + theirs.sum(1)[None] - common
    found = np.zeros(boxes.shape)
    # Two empty masks of nearly the same box are the same decision.
    found[:, near] = np.where(union > 0, common / np.maximum(union, 1), 1) * (boxes[:, near] >= NEAR)
    return found


def difference_raw(expected: Outputs, got: Outputs, post: Postprocess) -> Difference:
    """Return the largest differences of boxes, and of scores; masks count with these, as a share of 1."""
    boxes, scores, _ = detections.split_difference(expected, got, post)
    extra = 4 + len(post.names)
    parts = ((expected[0][0, extra:], got[0][0, extra:]), (expected[1], got[1]))
    return Difference(
        float(boxes.max(initial=0)), max(float(scores.max()), *(_relative(*part) for part in parts))
    )


def difference_end2end(expected: Outputs, got: Outputs, post: Postprocess) -> Difference:
    """Return the same of rows that need no NMS."""
    plain = detections.difference_end2end(expected, got, post)
    rows, others, score = detections.pair_rows(expected, got)
    parts = ((rows[:, 6:], others[:, 6:]), (expected[1], got[1]))
    return Difference(plain.box_px, max(score, *(_relative(*part) for part in parts)))


def _relative(wanted: Array, got: Array) -> float:
    """Return the largest difference as a share of the largest number."""
    return float(np.abs(wanted - got).max(initial=0)) / max(float(np.abs(wanted).max(initial=0)), 1e-12)


def error_raw(outputs: Outputs, reference: Outputs, post: Postprocess) -> float:
    """Return the mean of three errors: of boxes and scores as `detections.error_raw`, and of the masks.

    That one is 1 - the soft IoU of sigmoids, inside of the reference's boxes, weighted as the boxes are.
    """
    seen = detections.look_at(outputs, reference, post)
    boxes = 1 - detections.overlap(*detections.box_pair(seen))
    best = np.argsort(-seen.weight, kind="stable")[:MOST_SEEN]
    inside = _inside(detections.box_pair(seen)[1][best], reference[1]).reshape(len(best), -1)
    one, other = (
        _sigmoid(columns[seen.extra :, best].T @ np.nan_to_num(_flat(run[1]))) * inside
        for columns, run in ((seen.output, outputs), (seen.wanted, reference))
    )
    lost = 1 - np.minimum(one, other).sum(1) / np.maximum(np.maximum(one, other).sum(1), 1e-9)
    weight = seen.weight[best]
    shapes = float(weight @ (lost * inside.any(1))) / max(float(weight.sum()), 1e-12)
    return (seen.mean(boxes) + seen.scores + shapes) / 3


def _sigmoid(logits: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -50, 50))))


RAW = detections.make_head(check_raw, detections.decode_raw, difference_raw, error_raw, _overlaps, masks)
END2END = detections.make_head(
    check_end2end, detections.decode_rows, difference_end2end, values.error, _overlaps, masks
)
