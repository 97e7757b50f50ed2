"""How far a network agrees with the one that it was made from: a metric that needs no labels.

Where the head tells what an application decides, the decisions of the original are the truth: its classes, or
the detections that it would deploy. Outputs that are read as they are agree by their distance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from edgeprune.images.answers import answers
from edgeprune.images.dataset import Dataset
from edgeprune.images.heads import HEADS
from edgeprune.images.heads.kind import Array, Outputs
from edgeprune.images.postprocess import Postprocess
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.models import Predict
from edgeprune.records.resampling.evidence import Evidence, Means
from edgeprune.records.scores import Accuracy

CLASSES, DETECTIONS, OUTPUTS = "top-1 agreement", "mAP50-95 agreement", "output agreement"
"""The metrics, each 1 where both agree wholly."""
LENIENT, KEPT = "mAP50 agreement", "detections kept"
"""Shown beside the mAP. The distance of the outputs is shown beside every decision."""
KEPT_BYTES = 256 * 2**20
"""Of the original's outputs that are remembered; what is above is computed again."""
Pair = tuple[Outputs, Outputs]
"""Outputs of one image: the original's, and those that are judged."""


def metric_of(post: Postprocess) -> str:
    """Return the name of the metric that outputs of a head are judged by."""
    return _judge_of(post)[0]


@dataclass
class Reference:
    """The original's outputs, by image: computed once, as far as `KEPT_BYTES` goes.

    Attributes:
        predict: the original.
    """

    predict: Predict
    _kept: dict[Path, list[Array]] = field(default_factory=dict)
    _bytes: int = 0

    def outputs(self, image: Path, tensor: Array) -> list[Array]:
        """Return the original's outputs of an image, whose input is float32 (1, 3, H, W)."""
        if image in self._kept:
            return self._kept[image]
        found = [np.array(output) for output in self.predict(tensor)]
        size = sum(output.nbytes for output in found)
        if self._bytes + size <= KEPT_BYTES:
            self._kept[image] = found
            self._bytes += size
        return found


def evaluate(
    reference: Reference, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
) -> Accuracy:
    """Measure the agreement of a network's outputs with the original's on a split.

    Args:
        reference: of the original at this input size, with this head.
        predict: maps float32 (n, 3, H, W), up to a batch of the spec, to outputs of the original's shapes.

    Raises:
        CompileError: an output has another shape than the head's, or holds no finite value.
    """
    images, near = dataset.images[split], []
    metric, start = _judge_of(post)
    judge = start() if start else None
    for image, (tensor, _, got) in zip(images, answers(predict, images, spec), strict=True):
        wanted = reference.outputs(image, tensor)
        HEADS[post.head].check(got, post)
        near.append(nearness(wanted, got))
        if judge:
            judge.add((wanted, got))
    nearnesses = np.array(near)
    mean = float(nearnesses.mean())
    score, others, decided = judge.judged() if judge else (mean, {}, Means(nearnesses))
    others |= {OUTPUTS: mean} if judge else {}
    found = Accuracy(metric=metric, split=split, images=len(images), score=score, others=others)
    return found.made_of(decided)


def nearness(wanted: Outputs, got: Outputs) -> float:
    """Return 1 less the relative L2 distance of outputs, the mean over them; at least 0."""
    errors = [
        np.linalg.norm(np.nan_to_num(one) - other) / max(float(np.linalg.norm(other)), 1e-12)
        for one, other in zip(
            (np.asarray(output, dtype=np.float64) for output in got),
            (np.asarray(output, dtype=np.float64) for output in wanted),
            strict=True,
        )
    ]
    return max(0.0, 1.0 - float(np.mean(errors)))


def finds_nothing(
    reference: Reference, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
) -> bool:
    """Tell whether the original decides nothing on a split, so that there is nothing to agree on."""
    if post.deployment is None:
        return False
    for image in dataset.images[split]:
        outputs = reference.outputs(image, load_input(image, spec)[0])
        if len(HEADS[post.head].decode(outputs, post, post.deployment)):
            return False
    return True


_Judged = tuple[float, dict[str, float], Evidence]
"""Score, other metrics, and what the score is made of."""


class _Judge(Protocol):
    """What is kept of the decisions of a head, image by image; the outputs themselves are not."""

    def add(self, pair: Pair) -> None:
        """Take in the outputs of an image."""
        ...

    def judged(self) -> _Judged:
        """Return how far they agree over all images."""
        ...


@dataclass
class _Classes:
    """The share of images that get the original's class."""

    _same: list[bool] = field(default_factory=list)

    def add(self, pair: Pair) -> None:
        wanted, got = pair
        self._same.append(int(wanted[0].argmax()) == int(got[0].argmax()))

    def judged(self) -> _Judged:
        same = np.array(self._same)
        return float(same.mean()), {}, Means(same)


class _Detections:
    """The mAP against the detections that the original would deploy, as if they were the labels.

    Beside it, `KEPT` is the share of them that are deployed here too, at an overlap of 0.5.
    """

    def __init__(self, post: Postprocess) -> None:
        from edgeprune.adapters.ultralytics.tally import Tally

        self._post, self._tally = post, Tally()
        self._kept = self._wanted = 0

    def add(self, pair: Pair) -> None:
        import torch

        from edgeprune.adapters.ultralytics.mean_ap import detections, match

        post, (wanted, got) = self._post, pair
        overlaps = HEADS[post.head].overlaps
        assert post.deployment is not None and post.evaluation is not None and overlaps is not None
        labels = detections(wanted, post, post.deployment)
        limit = max(post.evaluation.max_detections or 0, len(labels))
        boxes = detections(got, post, replace(post.evaluation, max_detections=limit))
        overlap = torch.from_numpy(overlaps(labels.numpy(), boxes.numpy(), pair, post))
        right = match(overlap, boxes[:, 5], labels[:, 5])
        deployed = boxes[:, 4] > post.deployment.confidence
        self._kept += int(right[deployed.numpy(), 0].sum())
        self._wanted += len(labels)
        self._tally.add(right, boxes[:, 4], boxes[:, 5], labels[:, 5])

    def judged(self) -> _Judged:
        from edgeprune.adapters.ultralytics.tally import average_precisions

        matches, others = self._tally.matches(), {LENIENT: 0.0, KEPT: self._kept / max(self._wanted, 1)}
        if not matches.right.any():
            return 0.0, others, matches
        precision = np.stack(list(average_precisions(matches).values()))
        return float(precision.mean()), others | {LENIENT: float(precision[:, 0].mean())}, matches


def _judge_of(post: Postprocess) -> tuple[str, Callable[[], _Judge] | None]:
    """Return the metric of a head, and what makes its judge; other outputs are compared as they are."""
    if post.head == "scores":
        return CLASSES, _Classes
    return (OUTPUTS, None) if HEADS[post.head].overlaps is None else (DETECTIONS, partial(_Detections, post))
