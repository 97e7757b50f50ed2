"""One evaluator for torch and every engine: mAP with ultralytics' own NMS and AP arithmetic.

What is compared, boxes alone or masks, keypoints or rotated boxes, is told by a `Judge`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from ultralytics.utils.metrics import box_iou
from ultralytics.utils.nms import non_max_suppression

from edgeprune.adapters.ultralytics.tally import Tally, average_precisions
from edgeprune.images.answers import answers
from edgeprune.images.dataset import Dataset
from edgeprune.images.heads import HEADS
from edgeprune.images.postprocess import Postprocess, Selection
from edgeprune.images.preprocess import Placement, Preprocess
from edgeprune.images.reading.labels import Labelling, Labels
from edgeprune.images.size import sides
from edgeprune.models import Array, Predict
from edgeprune.records.scores import Accuracy

METRIC, LENIENT = "mAP50-95", "mAP50"
IOU_THRESHOLDS = torch.linspace(0.5, 0.95, 10).numpy()
"""In float32 as ultralytics has them: the IoU of small masks may be one of them exactly."""
SURE = 0.25
"""A detection of this confidence is shown by ultralytics' `predict`."""
NEAR = 0.05
"""Of the lenient metric with classes left out: from here on it is not said that boxes lie elsewhere."""


@dataclass(frozen=True)
class Found:
    """What a network finds in an image, and what is there.

    Attributes:
        rows: (n, 6 + extra) as `detections` has them.
        outputs: of the network.
        labels: of the image; `placement` is where it lies in the input of `shape` height and width.
        labelling: how they were read.
    """

    rows: torch.Tensor
    outputs: Sequence[Array]
    labels: Labels
    placement: Placement
    shape: tuple[int, int]
    labelling: Labelling | None


@dataclass(frozen=True)
class Judge:
    """How the detections of a task are held against its labels.

    Attributes:
        kinds: names of what is compared, each with a space behind it, or nothing. The first decides.
        compare: overlaps of the targets of an image with its detections, (m, n) in [0, 1], one a kind.
    """

    kinds: tuple[str, ...]
    compare: Callable[[Found], tuple[torch.Tensor, ...]]

    @property
    def metric(self) -> str:
        """Name of what budgets are judged by."""
        return f"{self.kinds[0]}{METRIC}"


def compare_boxes(found: Found) -> tuple[torch.Tensor, ...]:
    """Return the IoU of boxes."""
    truth = _in_pixels(found.labels.boxes, found.placement)
    return (box_iou(truth, found.rows[:, :4]),)


BOXES = Judge(("",), compare_boxes)


def evaluate(
    predict: Predict,
    dataset: Dataset,
    split: str,
    spec: Preprocess,
    post: Postprocess,
    judge: Judge = BOXES,
) -> Accuracy:
    """Measure mAP50, mAP50-95 and AP per class on a split, agreeing with ultralytics' `val(rect=False)`.

    Args:
        predict: maps float32 (n, 3, H, W), up to a batch of the spec, to outputs of the shapes of its head.

    Raises:
        CompileError: an output of the network has another shape or holds no finite value.
    """
    tallies = _tallies(judge)
    for rated in _rated(predict, dataset, split, spec, post, judge):
        rated.count(tallies)
    return _accuracy(dataset, split, judge, tallies)


def causes(
    predict: Predict,
    dataset: Dataset,
    split: str,
    spec: Preprocess,
    post: Postprocess,
    judge: Judge = BOXES,
) -> tuple[str, ...]:
    """Return what measurements tell of why a detector finds next to nothing on a split, a sentence each.

    Empty where none of them tells.
    """
    by_class, without, sure, highest = _tallies(judge), _tallies(judge), 0, 0.0
    for rated in _rated(predict, dataset, split, spec, post, judge):
        rated.count(by_class)
        rated.as_one().count(without)
        sure += int((rated.rows[:, 4] >= SURE).sum())
        highest = max([highest, *rated.rows[:1, 4].tolist()])
    right, as_one = (_accuracy(dataset, split, judge, tallies) for tallies in (by_class, without))
    if as_one.score > max(0.05, 5 * right.score):
        return (
            f"its boxes fit where classes are left out of account ({judge.metric} {as_one.score:.4f}): the "
            "class numbers of the labels are not those of the model",
        )
    if not sure:
        most = f"{highest:.3f}" if highest else "none"
        return (
            f"it finds nothing with a confidence of {SURE:g} or more in {right.images} images (the highest "
            f"is {most}): it is not trained, or was trained on images of another kind",
        )
    lenient = f"{judge.kinds[0]}{LENIENT}"
    if (near := as_one.others[lenient]) >= NEAR:
        return ()  # some lie where the labels are, of the right class: nothing measured here tells why so few
    return (
        f"it finds {sure} boxes with a confidence of {SURE:g} or more in {right.images} images, and they are "
        f"not where the labels are ({lenient} {near:.4f} without regard to classes): "
        "labels or images belong to another task",
    )


@dataclass(frozen=True)
class _Rated:
    """Of an image: detections (n, 6 or more); classes (m,) of its targets; overlaps (m, n), one a kind."""

    rows: torch.Tensor
    classes: torch.Tensor
    overlaps: tuple[torch.Tensor, ...]

    def as_one(self) -> _Rated:
        """Return the same with all classes taken as one."""
        rows = self.rows.clone()
        rows[:, 5] = 0
        return replace(self, rows=rows, classes=torch.zeros_like(self.classes))

    def count(self, tallies: Sequence[Tally]) -> None:
        """Match the detections with the targets, and add that to the tally of each kind."""
        scores, predicted = self.rows[:, 4], self.rows[:, 5]
        for overlap, tally in zip(self.overlaps, tallies, strict=True):
            tally.add(match(overlap, predicted, self.classes), scores, predicted, self.classes)


def _rated(
    predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess, judge: Judge
) -> Iterable[_Rated]:
    images = dataset.images[split]
    assert post.evaluation is not None
    most = max((len(dataset.boxes(image)) for image in images), default=0)
    selection = replace(post.evaluation, max_detections=max(post.evaluation.max_detections or 0, most))
    for image, (_, placement, outputs) in zip(images, answers(predict, images, spec), strict=True):
        found = [np.asarray(output, dtype=np.float32) for output in outputs]
        rows, labels = detections(found, post, selection), labels_of(dataset, image)
        seen = Found(rows, found, labels, placement, sides(spec.imgsz), dataset.labelling)
        yield _Rated(rows, torch.from_numpy(labels.boxes[:, 0]), judge.compare(seen))


def labels_of(dataset: Dataset, image: Path) -> Labels:
    """Return the labels of an image, its boxes from memory where these are all that is learnt."""
    if dataset.labelling is None or dataset.labelling.shows == "boxes":
        return Labels(dataset.boxes(image))
    return dataset.labels(image)


def detections(outputs: Sequence[Array], post: Postprocess, selection: Selection) -> torch.Tensor:
    """Turn a network's outputs for one image into detections as the spec says.

    Args:
        selection: the spec's for evaluation or for deployment, or one like it.

    Returns:
        (n, 6 + extra) of x1, y1, x2, y2 in pixels of the input, or centre and size of a rotated box; score,
        class, and what the task has behind them; most confident first.

    Raises:
        CompileError: an output has another shape than the spec's head or holds no finite value.
    """
    HEADS[post.head].check(outputs, post)
    found: torch.Tensor = non_max_suppression(
        torch.from_numpy(np.array(outputs[0], dtype=np.float32)),
        selection.confidence,
        selection.iou or 1.0,
        multi_label=selection.multi_label,
        max_det=selection.max_detections,
        nc=len(post.names),
        rotated=post.head.startswith("rotated"),
        end2end=post.end2end,
    )[0]
    return found


def match(overlap: torch.Tensor, predicted: torch.Tensor, classes: torch.Tensor) -> npt.NDArray[np.bool_]:
    """Decide which detections are right at each threshold of overlap.

    Detections, most confident first, each claim the free target of their class that they overlap most, one
    threshold at a time.

    Args:
        overlap: (m, n) in [0, 1] of targets with detections, most confident first.
        predicted: (n,) classes of the detections; `classes` those of the targets (m,).

    Returns:
        bool (n, 10), one column a threshold of 0.5 to 0.95.
    """
    right = np.zeros((len(predicted), len(IOU_THRESHOLDS)), dtype=bool)
    if not len(predicted) or not len(classes):
        return right
    of_class = (overlap * (classes[:, None] == predicted)).numpy()
    taken = np.zeros((len(classes), len(IOU_THRESHOLDS)), dtype=bool)
    columns = np.arange(len(IOU_THRESHOLDS))
    for detection in np.flatnonzero((of_class >= IOU_THRESHOLDS[0]).any(axis=0)):
        free = np.where(taken, 0, of_class[:, detection, None])
        best = free.argmax(axis=0)
        right[detection] = free[best, columns] >= IOU_THRESHOLDS
        taken[best, columns] |= right[detection]
    return right


def _in_pixels(rows: npt.NDArray[np.float32], placement: Placement) -> torch.Tensor:
    size = np.array([placement.width, placement.height], dtype=np.float32)
    centre = rows[:, 1:3] * size + np.array([placement.left, placement.top], dtype=np.float32)
    half = rows[:, 3:5] * size / 2
    return torch.from_numpy(np.concatenate([centre - half, centre + half], axis=1))


def _tallies(judge: Judge) -> tuple[Tally, ...]:
    """Return an empty tally for each kind that is compared."""
    return tuple(Tally() for _ in judge.kinds)


def _accuracy(dataset: Dataset, split: str, judge: Judge, tallies: Sequence[Tally]) -> Accuracy:
    scores: dict[str, float] = {}
    per_class: dict[str, float] = {}
    for kind, tally in reversed(list(zip(judge.kinds, tallies, strict=True))):
        matches = tally.matches()
        per_class, ap = {}, np.zeros((1, len(IOU_THRESHOLDS)))
        if matches.right.any():
            found = average_precisions(matches)
            per_class = {dataset.distinct_names[label]: float(row.mean()) for label, row in found.items()}
            ap = np.stack(list(found.values()))
        scores = {f"{kind}{METRIC}": float(ap.mean()), f"{kind}{LENIENT}": float(ap[:, 0].mean())} | scores
    accuracy = Accuracy(
        metric=judge.metric,
        split=split,
        images=len(dataset.images[split]),
        score=scores.pop(judge.metric),
        others=scores,
        per_class=per_class,
    )
    return accuracy.made_of(matches)
