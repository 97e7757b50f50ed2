"""One evaluator for torch and every engine: detection mAP with ultralytics' own NMS and AP arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from ultralytics.utils.metrics import ap_per_class, box_iou
from ultralytics.utils.nms import non_max_suppression

from edgeprune.images.answers import answers
from edgeprune.images.dataset import Dataset
from edgeprune.images.heads import HEADS
from edgeprune.images.postprocess import Postprocess, Selection
from edgeprune.images.preprocess import Placement, Preprocess
from edgeprune.models import Predict
from edgeprune.records.scores import Accuracy

METRIC, LENIENT = "mAP50-95", "mAP50"
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
SURE = 0.25
"""A detection of this confidence is shown by ultralytics' `predict`."""


def evaluate(predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess) -> Accuracy:
    """Measure mAP50, mAP50-95 and AP per class on a split, agreeing with ultralytics' `val(rect=False)`.

    Args:
        predict: maps float32 (n, 3, H, W), up to a batch of the spec, to outputs whose first is the head's.

    Raises:
        CompileError: the network's output has another shape or holds no finite value.
    """
    return _accuracy(dataset, split, _found(predict, dataset, split, spec, post))


def causes(
    predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
) -> tuple[str, ...]:
    """Return what measurements tell of why a detector finds next to nothing on a split, a sentence each."""
    found = _found(predict, dataset, split, spec, post)
    right, as_one = _accuracy(dataset, split, found), _accuracy(dataset, split, map(_Found.as_one, found))
    scores = torch.cat([each.boxes[:, 4] for each in found])
    sure = int((scores >= SURE).sum())
    if as_one.score > max(0.05, 5 * right.score):
        return (
            f"its boxes fit where classes are left out of account ({METRIC} {as_one.score:.4f}): the class "
            "numbers of the labels are not those of the model",
        )
    if not sure:
        most = f"{float(scores.max()):.3f}" if len(scores) else "none"
        return (
            f"it finds nothing with a confidence of {SURE:g} or more in {len(found)} images (the highest is "
            f"{most}): it is not trained, or was trained on images of another kind",
        )
    return (
        f"it finds {sure} boxes with a confidence of {SURE:g} or more in {len(found)} images, and they are "
        f"not where the labels are ({LENIENT} {as_one.others[LENIENT]:.4f} without regard to classes): "
        "labels or images belong to another task",
    )


@dataclass(frozen=True)
class _Found:
    """Of an image: boxes (n, 6) as `detections` has them; the truth (m, 4) in pixels and its classes (m,)."""

    boxes: torch.Tensor
    classes: torch.Tensor
    truth: torch.Tensor

    def as_one(self) -> _Found:
        """Return the same with all classes taken as one."""
        boxes = self.boxes.clone()
        boxes[:, 5] = 0
        return replace(self, boxes=boxes, classes=torch.zeros_like(self.classes))


def _found(
    predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
) -> list[_Found]:
    labels = [dataset.boxes(image) for image in dataset.images[split]]
    assert post.evaluation is not None
    limit = max(post.evaluation.max_detections or 0, max((len(rows) for rows in labels), default=0))
    selection = replace(post.evaluation, max_detections=limit)
    found = []
    for rows, (_, placement, outputs) in zip(
        labels, answers(predict, dataset.images[split], spec), strict=True
    ):
        boxes = detections(torch.from_numpy(np.array(outputs[0], dtype=np.float32)), post, selection)
        found.append(_Found(boxes, torch.from_numpy(rows[:, 0]), _in_pixels(rows, placement)))
    return found


def detections(output: torch.Tensor, post: Postprocess, selection: Selection) -> torch.Tensor:
    """Turn a network's output into detections as the spec says.

    Args:
        selection: the spec's for evaluation or for deployment, or one like it.

    Returns:
        (n, 6) of x1, y1, x2, y2 in pixels of the input, score, class; most confident first.

    Raises:
        CompileError: the output has another shape than the spec's head or holds no finite value.
    """
    HEADS[post.head].check([output.numpy()], post)
    found: torch.Tensor = non_max_suppression(
        output,
        selection.confidence,
        selection.iou or 1.0,
        multi_label=selection.multi_label,
        max_det=selection.max_detections,
        end2end=post.head == "end2end",
    )[0]
    return found


def match(boxes: torch.Tensor, classes: torch.Tensor, truth: torch.Tensor) -> npt.NDArray[np.bool_]:
    """Decide which detections are right at each IoU threshold.

    Detections, most confident first, each claim the free target of their class that they overlap most, one
    threshold at a time.

    Args:
        boxes: (n, 6) of x1, y1, x2, y2, score, class, most confident first.
        classes: (m,) target classes; `truth` their boxes (m, 4).

    Returns:
        bool (n, 10), one column a threshold of 0.5 to 0.95.
    """
    right = np.zeros((len(boxes), len(IOU_THRESHOLDS)), dtype=bool)
    if not len(boxes) or not len(truth):
        return right
    overlap = (box_iou(truth, boxes[:, :4]) * (classes[:, None] == boxes[:, 5])).numpy()
    taken = np.zeros((len(truth), len(IOU_THRESHOLDS)), dtype=bool)
    columns = np.arange(len(IOU_THRESHOLDS))
    for detection in np.flatnonzero((overlap >= IOU_THRESHOLDS[0]).any(axis=0)):
        free = np.where(taken, 0, overlap[:, detection, None])
        best = free.argmax(axis=0)
        right[detection] = free[best, columns] >= IOU_THRESHOLDS
        taken[best, columns] |= right[detection]
    return right


def _in_pixels(rows: npt.NDArray[np.float32], placement: Placement) -> torch.Tensor:
    size = np.array([placement.width, placement.height], dtype=np.float32)
    centre = rows[:, 1:3] * size + np.array([placement.left, placement.top], dtype=np.float32)
    half = rows[:, 3:5] * size / 2
    return torch.from_numpy(np.concatenate([centre - half, centre + half], axis=1))


def _accuracy(dataset: Dataset, split: str, found: Iterable[_Found]) -> Accuracy:
    images = list(found)
    tp = np.concatenate([match(each.boxes, each.classes, each.truth) for each in images])
    if not tp.any():
        return Accuracy(metric=METRIC, split=split, images=len(images), score=0.0, others={LENIENT: 0.0})
    boxes = torch.cat([each.boxes for each in images]).numpy()
    classes = torch.cat([each.classes for each in images]).numpy()
    ap, present = ap_per_class(tp, boxes[:, 4], boxes[:, 5], classes)[5:7]
    names = [dataset.distinct_names[int(index)] for index in present]
    return Accuracy(
        metric=METRIC,
        split=split,
        images=len(images),
        score=float(ap.mean()),
        others={LENIENT: float(ap[:, 0].mean())},
        per_class={name: float(row.mean()) for name, row in zip(names, ap, strict=True)},
    )
