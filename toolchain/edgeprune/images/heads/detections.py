"""Detections: boxes with scores of all anchors, or rows that need no NMS.

The accuracy is judged by `adapters/ultralytics/mean_ap.py` with ultralytics' own functions; the tests hold
both to the same detections.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
    Overlaps,
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
    return decode_rows(outputs, post, selection)[:, :6]


def decode_rows(outputs: Outputs, post: Postprocess, selection: Selection | None) -> Floats:
    """Return the same with what a task has behind score and class, float32 (n, 6 + extra)."""
    assert selection is not None
    found = np.asarray(outputs[0][0], dtype=np.float32)
    rows = found[found[:, 4] > selection.confidence]
    return rows[np.argsort(-rows[:, 4], kind="stable")][: selection.max_detections]


def decode_raw(outputs: Outputs, post: Postprocess, selection: Selection | None) -> Floats:
    """Choose, order and suppress the boxes of one image.

    Returns:
        float32 (n, 6 + extra) of x1, y1, x2, y2 in pixels of the input, score and class, and what a task's
        columns have behind their scores; most confident first.
    """
    assert selection is not None
    columns = np.asarray(outputs[0][0], dtype=np.float32)
    label, anchor, score = choose(columns, len(post.names), selection)
    corners = columns[:4, anchor].T
    if post.boxes == "xywh":
        corners = to_corners(corners[:, :2], corners[:, 2:])
    kept = _suppress(corners, label, selection.iou, selection.max_detections)
    extra = columns[4 + len(post.names) :, anchor[kept]].T
    return np.column_stack([corners[kept], score[kept], label[kept], extra]).astype(np.float32)


def choose(
    columns: Floats, classes: int, selection: Selection
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats]:
    """Return class, column and score of what is above a selection's confidence, most confident first."""
    scores = columns[4 : 4 + classes]
    if selection.multi_label:
        label, anchor = np.nonzero(scores > selection.confidence)
    else:
        best = scores.argmax(axis=0)
        anchor = np.flatnonzero(scores[best, np.arange(scores.shape[1])] > selection.confidence)
        label = best[anchor]
    score = scores[label, anchor]
    order = np.argsort(-score, kind="stable")
    return label[order], anchor[order], score[order]


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
        common = overlap(corners[first], corners[left])
        left = left[(common <= iou) | (label[left] != label[first])]
    return np.asarray(kept, dtype=np.intp)


def box_overlaps(rows: Floats, others: Floats, pair: tuple[Outputs, Outputs], post: Postprocess) -> Array:
    """Return the IoU of the boxes of detections (n, ...) with those of others (m, ...), (n, m)."""
    return overlap(rows[:, None, :4], others[None, :, :4])


def shared(
    check: Callable[..., None],
    decode: Callable[..., Floats],
    overlaps: Overlaps = box_overlaps,
) -> Callable[[Outputs, Outputs, Postprocess], Shared]:
    """Return what compares the detections of two runs on the same images, for one kind of head.

    A detection is shared where the other run has one of its class that overlaps it by at least 0.7.

    Args:
        overlaps: of detections of one run with those of the other, (n, m) in [0, 1]; it is given the outputs
            of both.
    """

    def compare(one: Outputs, other: Outputs, post: Postprocess) -> Shared:
        found: list[tuple[int, int]] = []
        for mine, theirs in zip(one_by_one(one), one_by_one(other), strict=True):
            for pair in ((mine, theirs), (theirs, mine)):
                check(pair[0], post)
                found.append(_partners(pair, post, decode, overlaps))
        return Shared("detections", sum(sure for sure, _ in found), sum(matched for _, matched in found))

    return compare


def _partners(
    pair: tuple[Outputs, Outputs],
    post: Postprocess,
    decode: Callable[..., Floats],
    overlaps: Overlaps,
) -> tuple[int, int]:
    """Return how many sure detections the first run of one image has, and how many of them have a partner.

    Partners are looked for before duplicates are removed: two boxes that overlap by just as much as NMS
    tolerates are one detection in one run and two in the other, whichever way the last bit was rounded.
    """
    assert post.deployment is not None
    loose = replace(post.deployment, confidence=PARTNER, iou=None, max_detections=None, multi_label=True)
    sure, candidates = decode(pair[0], post, post.deployment), decode(pair[1], post, loose)
    same = candidates[:, 5][None] == sure[:, 5][:, None]
    near = overlaps(sure, candidates, pair, post) >= OVERLAP
    return len(sure), int((same & near).any(axis=1).sum())


def overlap(boxes: Array, others: Array) -> Array:
    """Return the IoU of boxes (..., 4) of two corners with others, one by one as numpy broadcasts them."""
    low, high = np.maximum(boxes[..., :2], others[..., :2]), np.minimum(boxes[..., 2:], others[..., 2:])
    common = np.clip(high - low, 0, None).prod(axis=-1)
    areas = [(each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (boxes, others)]
    return np.asarray(common / np.maximum(areas[0] + areas[1] - common, 1e-9))


def difference_raw(expected: Outputs, got: Outputs, post: Postprocess) -> Difference:
    """Return the largest differences of a column's box and scores."""
    boxes, scores, _ = split_difference(expected, got, post)
    return Difference(float(boxes.max(initial=0)), float(scores.max()))


def split_difference(expected: Outputs, got: Outputs, post: Postprocess) -> list[Array]:
    """Return the absolute differences of columns: boxes, scores, and what a task has behind them."""
    return np.split(np.abs(expected[0] - got[0])[0], [4, 4 + len(post.names)])


def difference_end2end(expected: Outputs, got: Outputs, post: Postprocess) -> Difference:
    """Return the largest differences of detections, see `pair_rows`; a wrong class is a pixel or more."""
    rows, others, score = pair_rows(expected, got)
    apart = np.abs(rows - others)[:, _BOX_AND_CLASS]
    return Difference(float(apart.max(initial=0)), score)


def pair_rows(expected: Outputs, got: Outputs) -> tuple[Array, Array, float]:
    """Pair the detections of two runs, whose order is arbitrary where scores are nearly equal.

    Each is held against the nearest of the other side. Those that tie with the last one are left out: which
    of them make the top n is chance as well.

    Returns:
        Rows of both sides, and the largest difference of scores by their place.
    """
    rows, others = expected[0][0], got[0][0]
    score = float(np.abs(rows[:, 4] - others[:, 4]).max())
    sure = rows[rows[:, 4] > rows[-1, 4] + TIE]
    distance = np.abs(sure[:, None, _BOX_AND_CLASS] - others[None, :, _BOX_AND_CLASS]).max(axis=2)
    return sure, others[distance.argmin(axis=1)], score


def error_raw(outputs: Outputs, reference: Outputs, post: Postprocess) -> float:
    """Return the error of a raw head in what mAP looks at.

    That is the mean of two errors where the reference detects something: 1 - IoU of the boxes, weighted by
    the square of their best score, and relative L2 of the scores. Two pixels are little of a coordinate in an
    image of 320 and much of a box of 20, and most anchors hold nothing that any metric looks at.
    """
    seen = look_at(outputs, reference, post)
    return (seen.mean(1 - overlap(*box_pair(seen))) + seen.scores) / 2


@dataclass(frozen=True)
class Seen:
    """Columns of a raw head, of a run and of its reference.

    Attributes:
        output, wanted: float64 (rows, anchors).
        weight: of each anchor, the square of the reference's best score.
        scores: relative L2 error of the scores.
        extra: where in a column the task's own numbers begin.
    """

    output: Array
    wanted: Array
    weight: Array
    scores: float
    extra: int

    def mean(self, errors: Array) -> float:
        """Return the mean of the anchors' errors by their weight."""
        return float(self.weight @ errors) / max(float(self.weight.sum()), 1e-12)


def look_at(outputs: Outputs, reference: Outputs, post: Postprocess) -> Seen:
    """Return the columns of two runs with the weight of each."""
    extra = 4 + len(post.names)
    output, wanted = (
        np.nan_to_num(np.asarray(rows[0][0], dtype=np.float64)) for rows in (outputs, reference)
    )
    scores = wanted[4:extra]
    error = float(np.linalg.norm(output[4:extra] - scores)) / max(float(np.linalg.norm(scores)), 1e-12)
    return Seen(output, wanted, scores.max(axis=0) ** 2, error, extra)


def box_pair(seen: Seen) -> tuple[Array, Array]:
    """Return the boxes of both runs as two corners, (anchors, 4) each."""
    one, other = (to_corners(rows[:2].T, np.maximum(rows[2:4].T, 0)) for rows in (seen.output, seen.wanted))
    return one, other


def to_corners(centres: Array, sizes: Array) -> Array:
    """Return boxes of centres and sizes, each (n, 2), as two corners (n, 4)."""
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


def make_head(
    check: Callable[[Outputs, Postprocess], None],
    decode: Callable[[Outputs, Postprocess, Selection | None], Floats],
    difference: Callable[[Outputs, Outputs, Postprocess], Difference],
    error: Callable[[Outputs, Outputs, Postprocess], float],
    overlaps: Overlaps = box_overlaps,
    masks: Callable[[Outputs, Floats], Array] | None = None,
) -> Head:
    """Return a head of detections, whose runs are compared by how these overlap; see `Head`."""
    return Head(check, decode, shared(check, decode, overlaps), difference, error, masks, overlaps)


RAW = make_head(check_raw, decode_raw, difference_raw, error_raw)
END2END = make_head(check_end2end, decode_end2end, difference_end2end, values.error)
