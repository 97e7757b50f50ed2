"""Detection mAP as `val.py` of YOLOv5 (v7.0) has it: its matching, and its interpolation of precision.

Today's ultralytics differs from it in three ways, each worth some thousandths: boxes are cut at the border of
the image here; a detection whose best target is taken gets no other one; the curve of precision runs on
from the last recall to 1.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from ultralytics.utils.metrics import box_iou

from edgeprune.adapters.ultralytics.mean_ap import IOU_THRESHOLDS, LENIENT, METRIC, detections
from edgeprune.images.answers import answers
from edgeprune.images.dataset import Dataset
from edgeprune.images.postprocess import Postprocess
from edgeprune.images.preprocess import Placement, Preprocess
from edgeprune.models import Predict
from edgeprune.records.resampling.evidence import Matches
from edgeprune.records.scores import Accuracy

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
_RECALLS = np.linspace(0, 1, 101)
"""Where COCO samples the curve of precision."""


def evaluate(predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess) -> Accuracy:
    """Measure mAP50-95, mAP50 and AP per class on a split, as `val.py` does with `--task speed`: letterboxed.

    Args:
        predict: maps float32 (n, 3, H, W), up to a batch of the spec, to outputs whose first is the head's.

    Raises:
        CompileError: the network's output has another shape or holds no finite value.
    """
    assert post.evaluation is not None
    labels = [dataset.boxes(image) for image in dataset.images[split]]
    most = max(post.evaluation.max_detections or 0, max(map(len, labels), default=0))
    selection = replace(post.evaluation, max_detections=most)
    right, scores, predicted = [], [], []
    answered = answers(predict, dataset.images[split], spec)
    for rows, (_, placement, outputs) in zip(labels, answered, strict=True):
        boxes = detections(outputs, post, selection)
        found, truth = cut(boxes[:, :4], placement), cut(_corners(rows, placement), placement)
        overlap = box_iou(truth, found).numpy() * (rows[:, :1] == boxes[:, 5].numpy())
        right.append(match(overlap))
        scores.append(boxes[:, 4].numpy().copy())  # not a view, which would keep all boxes
        predicted.append(boxes[:, 5].numpy().copy())
    classes = np.concatenate([rows[:, 0] for rows in labels])
    matched, confidence, named = (np.concatenate(each) for each in (right, scores, predicted))
    ap = average_precision(matched, confidence, named, classes)
    by_class = {dataset.distinct_names[int(index)]: float(row.mean()) for index, row in ap.items()}
    rows = np.stack(list(ap.values()))
    order = np.argsort(-confidence, kind="stable")
    image, target_image = (np.repeat(np.arange(len(each)), list(map(len, each))) for each in (right, labels))
    evidence = Matches(matched[order], named[order], image[order], classes, target_image, "to_one")
    accuracy = Accuracy(
        metric=METRIC,
        split=split,
        images=len(labels),
        score=float(rows.mean()),
        others={LENIENT: float(rows[:, 0].mean())},
        per_class=by_class if rows.any() else {},
    )
    return accuracy.made_of(evidence)


def match(overlap: npt.NDArray[np.floating]) -> Flags:
    """Decide which detections are right at each IoU threshold.

    A detection goes to the target that it overlaps most. Of those that go to one target, the most confident
    one that overlaps enough is right.

    Args:
        overlap: IoU (targets, n), detections most confident first; 0 where the classes differ.

    Returns:
        bool (n, 10), one column a threshold of 0.5 to 0.95.
    """
    right = np.zeros((overlap.shape[1], len(IOU_THRESHOLDS)), dtype=bool)
    if not overlap.size:
        return right
    target, most = overlap.argmax(0), overlap.max(0)
    for column, threshold in enumerate(IOU_THRESHOLDS):
        enough = np.flatnonzero(most >= threshold)
        right[enough[np.unique(target[enough], return_index=True)[1]], column] = True
    return right


def average_precision(
    right: Flags, scores: npt.NDArray[np.floating], predicted: Floats, classes: Floats
) -> dict[int, Floats]:
    """Return the AP of each class that has targets, float64 (10,), one an IoU threshold.

    Args:
        right: as `match` gives it, over all images.
        scores, predicted: of the same n detections.
        classes: of all targets.
    """
    order = np.argsort(-scores, kind="stable")
    right, predicted = right[order], predicted[order]
    found: dict[int, Floats] = {}
    for index, count in zip(*np.unique(classes, return_counts=True), strict=True):
        found[int(index)] = np.array([_area(column, int(count)) for column in right[predicted == index].T])
    return found


def _area(right: Flags, targets: int) -> float:
    """Return the area under the falling envelope of precision, sampled at 101 recalls."""
    if not len(right):
        return 0.0
    hits = right.cumsum()
    recall, precision = hits / targets, hits / np.arange(1, len(hits) + 1)
    recall, precision = np.concatenate(([0.0], recall, [1.0])), np.concatenate(([1.0], precision, [0.0]))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    sampled = np.interp(_RECALLS, recall, envelope)
    return float(((sampled[1:] + sampled[:-1]) / 2 * np.diff(_RECALLS)).sum())


def cut(boxes: torch.Tensor, placement: Placement) -> torch.Tensor:
    """Cut boxes (n, 4) of two corners, in pixels of the input, at the border of the image in it."""
    low = torch.tensor([placement.left, placement.top]).repeat(2)
    size = torch.tensor([placement.width, placement.height]).repeat(2)
    return boxes.clamp(low, low + size)


def _corners(rows: npt.NDArray[np.float32], placement: Placement) -> torch.Tensor:
    """Return labels (n, 5) of class, centre and size in [0, 1] as corners in pixels of the input."""
    size = np.array([placement.width, placement.height], dtype=np.float32)
    centre = rows[:, 1:3] * size + np.array([placement.left, placement.top], dtype=np.float32)
    half = rows[:, 3:5] * size / 2
    return torch.from_numpy(np.concatenate([centre - half, centre + half], axis=1))
