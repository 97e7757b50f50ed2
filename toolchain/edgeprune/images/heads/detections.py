"""Detections: boxes with scores of all anchors, or rows that need no NMS.

The accuracy is judged by `adapters/ultralytics/mean_ap.py` with ultralytics' own functions; the tests hold
both to the same detections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgeprune.images.heads import values
from edgeprune.images.heads.kind import (
    Array,
    Difference,
    Floats,
    Head,
    Outputs,
    Shared,
    one_by_one,
    require,
)

if TYPE_CHECKING:
    from edgeprune.images.postprocess import Postprocess, Selection

# A score beside the threshold may fall on its other side: the partner of a sure detection may be less sure.
PARTNER = 0.2
OVERLAP = 0.7  # IoU of partners: what the validator's NMS takes for one object
TIE = 1e-4  # scores this near may change places between two runtimes
_BOX_AND_CLASS = [0, 1, 2, 3, 5]


def check_raw(outputs: Outputs, post: Postprocess) -> None:
    """Require (1, 4 + classes, anchors) of finite numbers; see `require`."""
    rows = 4 + len(post.names)
    require(outputs, lambda shape: len(shape) == 3 and shape[1] == rows, f"(1, {rows}, anchors)")


def check_end2end(outputs: Outputs, post: Postprocess) -> None:
    """Require (1, detections, 6) of finite numbers; see `require`."""
    require(outputs, lambda shape: len(shape) == 3 and shape[2] >= 6, "(1, detections, 6)")


def decode_end2end(outputs: Outputs, post: Postprocess, selection: Selection | None) -> Floats:
    """Return the detections of one image that a selection takes; see `decode_raw`."""
    assert selection is not None
    found = np.asarray(outputs[0][0], dtype=np.float32)
    rows = found[found[:, 4] > selection.confidence, :6]
    return rows[np.argsort(-rows[:, 4], kind="stable")][: selection.max_detections]


def decode_raw(outputs: Outputs, post: Postprocess, selection: Selection | None) -> Floats:
    """Choose, order and suppress the boxes of one image.

    Returns:
        float32 (n, 6) of x1, y1, x2, y2 in pixels of the input, score and class, most confident first.
    """
    assert selection is not None
    columns = np.asarray(outputs[0][0], dtype=np.float32)
    scores = columns[4:]
    if selection.multi_label:
        label, anchor = np.nonzero(scores > selection.confidence)
    else:
        best = scores.argmax(axis=0)
        anchor = np.flatnonzero(scores[best, np.arange(scores.shape[1])] > selection.confidence)
        label = best[anchor]
    score = scores[label, anchor]
    order = np.argsort(-score, kind="stable")
    label, anchor, score = label[order], anchor[order], score[order]
    corners = columns[:4, anchor].T
    if post.boxes == "xywh":
        corners = _corners(corners[:, :2], corners[:, 2:])
    kept = _suppress(corners, label, selection.iou, selection.max_detections)
    return np.column_stack([corners[kept], score[kept], label[kept]]).astype(np.float32)


def _suppress(
    corners: Floats, label: npt.NDArray[np.intp], iou: float | None, most: int | None
) -> npt.NDArray[np.intp]:
    """Return which boxes greedy NMS within a class keeps; they come most confident first."""
    left = np.arange(len(corners))
    if iou is None:
        return left[:most]
    kept: list[int] = []
    while len(left) and (most is None or len(kept) < most):
        first, left = left[0], left[1:]
        kept.append(int(first))
        overlap = _iou(corners[first], corners[left])
        left = left[(overlap <= iou) | (label[left] != label[first])]
    return np.asarray(kept, dtype=np.intp)


def shared(check: Callable[..., None], decode: Callable[..., Floats]) -> Callable[..., Shared]:
    """Return what compares the detections of two runs on the same images, for one kind of head.

    A detection is shared where the other run has a box of its class at an IoU of at least 0.7.
    """

    def compare(one: Outputs, other: Outputs, post: Postprocess) -> Shared:
        found: list[tuple[int, int]] = []
        for pair in zip(one_by_one(one), one_by_one(other), strict=True):
            for outputs in pair:
                check(outputs, post)
            found += _partners(pair, post, decode)
        return Shared("detections", sum(sure for sure, _ in found), sum(matched for _, matched in found))

    return compare


def _partners(
    pair: tuple[Outputs, Outputs], post: Postprocess, decode: Callable[..., Floats]
) -> Iterator[tuple[int, int]]:
    """Yield, for each of the two runs of one image, its sure detections and those with a partner.

    Partners are looked for before duplicates are removed: two boxes that overlap by just as much as NMS
    tolerates are one detection in one run and two in the other, whichever way the last bit was rounded.
    """
    assert post.deployment is not None
    loose = replace(post.deployment, confidence=PARTNER, iou=None, max_detections=None, multi_label=True)
    for mine, theirs in (pair, pair[::-1]):
        sure, candidates = decode(mine, post, post.deployment), decode(theirs, post, loose)
        same = candidates[:, 5][None] == sure[:, 5][:, None]
        overlap = _iou(sure[:, None, :4], candidates[None, :, :4])
        yield len(sure), int((same & (overlap >= OVERLAP)).any(axis=1).sum())


def _iou(boxes: Array, others: Array) -> Array:
    """Return the IoU of boxes (..., 4) of two corners with others, one by one as numpy broadcasts them."""
    low, high = np.maximum(boxes[..., :2], others[..., :2]), np.minimum(boxes[..., 2:], others[..., 2:])
    common = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [(each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (boxes, others)]
    return np.asarray(common / np.maximum(areas[0] + areas[1] - common, 1e-9))


def difference_raw(expected: Outputs, got: Outputs) -> Difference:
    """Return the largest differences of a column's box and scores."""
    boxes, scores = np.split(np.abs(expected[0] - got[0]), [4], axis=1)
    return Difference(float(boxes.max(initial=0)), float(scores.max()))


def difference_end2end(expected: Outputs, got: Outputs) -> Difference:
    """Return the largest differences of detections, whose order is arbitrary where scores are nearly equal.

    Each detection is held against the nearest of the other side, a wrong class counting as a pixel or more.
    Those that tie with the last one are left out: which of them make the top n is chance as well.
    """
    rows, others = expected[0][0], got[0][0]
    scores = np.abs(rows[:, 4] - others[:, 4])
    sure = rows[rows[:, 4] > rows[-1, 4] + TIE][:, _BOX_AND_CLASS]
    distance = np.abs(sure[:, None] - others[None, :, _BOX_AND_CLASS]).max(axis=2)
    return Difference(float(distance.min(axis=1).max(initial=0)), float(scores.max()))


def error_raw(outputs: Outputs, reference: Outputs) -> float:
    """Return the error of a raw head in what mAP looks at.

    That is the mean of two errors where the reference detects something: 1 - IoU of the boxes, weighted by
    the square of their best score, and relative L2 of the scores. Two pixels are little of a coordinate in an
    image of 320 and much of a box of 20, and most anchors hold nothing that any metric looks at.
    """
    both = (np.asarray(rows[0][0], dtype=np.float64) for rows in (outputs, reference))
    output, wanted = map(np.nan_to_num, both)
    weight = wanted[4:].max(axis=0) ** 2
    one, other = (_corners(rows[:2].T, np.maximum(rows[2:4].T, 0)) for rows in (output, wanted))
    overlap = _iou(one, other)
    boxes = float(weight @ (1 - overlap)) / max(float(weight.sum()), 1e-12)
    size = float(np.linalg.norm(wanted[4:]))
    scores = float(np.linalg.norm(output[4:] - wanted[4:])) / max(size, 1e-12)
    return (boxes + scores) / 2


def _corners(centres: Array, sizes: Array) -> Array:
    """Return boxes of centres and sizes, each (n, 2), as two corners (n, 4)."""
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


RAW = Head(check_raw, decode_raw, shared(check_raw, decode_raw), difference_raw, error_raw)
END2END = Head(
    check_end2end, decode_end2end, shared(check_end2end, decode_end2end), difference_end2end, values.error
)
