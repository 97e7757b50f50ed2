"""From a network's first output to detections or a class, as a `postprocess.Postprocess` describes it.

numpy alone: this file travels to the device with the worker. The accuracy is judged by
`adapters/ultralytics/mean_ap.py` with ultralytics' own functions; the tests hold both to the same detections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edgeprune.images.postprocess import Postprocess, Selection

Floats = npt.NDArray[np.float32]


def decode(output: npt.NDArray[Any], post: Postprocess, selection: Selection | None) -> Floats:
    """Return the detections of one image, or its class.

    Args:
        output: the first output of the network, batch of one, in the shape of the spec's head.
        selection: one of the spec's, which the boxes are chosen by; None for a classifier.

    Returns:
        float32 (n, 6) of x1, y1, x2, y2 in pixels of the input, score and class, most confident first; of a
        classifier (1, 2) of score and class.
    """
    found = np.asarray(output[0], dtype=np.float32)
    if post.head == "scores":
        best = int(found.argmax())
        return np.array([[found[best], best]], dtype=np.float32)
    assert selection is not None
    if post.head == "end2end":
        rows = found[found[:, 4] > selection.confidence, :6]
        return rows[np.argsort(-rows[:, 4], kind="stable")][: selection.max_detections]
    return _raw(found, post, selection)


def _raw(columns: Floats, post: Postprocess, selection: Selection) -> Floats:
    """Choose, order and suppress the boxes of a head of (4 + classes, anchors)."""
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
        half = corners[:, 2:] / 2
        corners = np.concatenate([corners[:, :2] - half, corners[:, :2] + half], axis=1)
    kept = _suppress(corners, label, selection.iou, selection.max_detections)
    return np.column_stack([corners[kept], score[kept], label[kept]]).astype(np.float32)


def _suppress(
    corners: Floats, label: npt.NDArray[np.intp], iou: float | None, most: int | None
) -> npt.NDArray[np.intp]:
    """Return which boxes greedy NMS within a class keeps; they come most confident first."""
    left = np.arange(len(corners))
    if iou is None:
        return left[:most]
    area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    kept: list[int] = []
    while len(left) and (most is None or len(kept) < most):
        first, left = left[0], left[1:]
        kept.append(int(first))
        low = np.maximum(corners[first, :2], corners[left, :2])
        high = np.minimum(corners[first, 2:], corners[left, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        overlap = shared / np.maximum(area[first] + area[left] - shared, 1e-9)
        left = left[(overlap <= iou) | (label[left] != label[first])]
    return np.asarray(kept, dtype=np.intp)
