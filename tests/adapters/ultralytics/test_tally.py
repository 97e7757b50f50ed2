"""An evaluation keeps matches alone: the mAP of them is ultralytics' own, and no output or mask stays."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ultralytics.utils.metrics import ap_per_class

from conftest import NAMES
from edgeprune.adapters import agreement, top_k
from edgeprune.adapters.ultralytics import mean_ap
from edgeprune.adapters.ultralytics.tally import Tally, average_precisions
from edgeprune.adapters.yolov5 import accuracy as yolov5
from edgeprune.images.dataset import Dataset
from edgeprune.images.postprocess import Postprocess, classifier, detector
from edgeprune.images.preprocess import Preprocess
from edgeprune.records.scores import Accuracy

SPEC = Preprocess(64)
DETECTOR, CLASSIFIER = detector(NAMES, False), classifier(NAMES, activated=True)
Evaluate = Callable[..., Accuracy]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(0, 10_000))
def test_the_average_precisions_are_those_of_ultralytics(images: int, seed: int) -> None:
    rng, tally, parts = np.random.default_rng(seed), Tally(), []
    for _ in range(images):
        count, targets = rng.integers(0, 12), rng.integers(0, 6)
        parts.append(
            (
                np.arange(10) < rng.integers(0, 11, (count, 1)) * (rng.random((count, 1)) < 0.4),
                rng.random(count).astype(np.float32),
                rng.integers(0, 4, count).astype(np.float32),
                rng.integers(0, 3, targets).astype(np.float32),
            )
        )
        tally.add(*parts[-1])
    matches = tally.matches()
    whole = [np.concatenate(each) for each in zip(*parts, strict=True)]
    expected, known = ap_per_class(*whole)[5:7]
    found = average_precisions(matches)
    assert list(found) == known.tolist()
    assert np.array_equal(np.array(list(found.values())).reshape(-1, 10), expected)
    assert np.bincount(matches.image, minlength=images).tolist() == [len(part[1]) for part in parts]
    assert np.bincount(matches.target_image, minlength=images).tolist() == [len(part[3]) for part in parts]


class Watched:
    """Random outputs, and how many of them were still held whenever the next ones were asked for."""

    def __init__(self, *shape: int) -> None:
        self._rng, self._shape = np.random.default_rng(0), shape
        self._given: list[weakref.ref[Any]] = []
        self.held: list[int] = []

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        self.note(output := self._rng.random(self._shape, np.float32) * 40)
        return [output]

    def note(self, given: Any) -> None:
        self.held.append(sum(one() is not None for one in self._given))
        self._given.append(weakref.ref(given))


def by_agreement(predict: Any, dataset: Dataset, *asked: Any) -> Accuracy:
    shape = (1, 7, 84) if asked[-1].boxes else (1, 3)
    return agreement.evaluate(agreement.Reference(Watched(*shape)), predict, dataset, *asked)


@pytest.mark.parametrize(
    ("evaluate", "post"),
    [
        (mean_ap.evaluate, DETECTOR),
        (yolov5.evaluate, DETECTOR),
        (by_agreement, DETECTOR),
        (by_agreement, CLASSIFIER),
        (top_k.evaluate, CLASSIFIER),
        (mean_ap.causes, DETECTOR),
        (top_k.causes, CLASSIFIER),
    ],
)
def test_outputs_are_not_kept(evaluate: Evaluate, post: Postprocess, tiny: Dataset) -> None:
    predict = Watched(1, 7, 84) if post is DETECTOR else Watched(1, 3)
    dataset = tiny if post is DETECTOR else replace(tiny, is_unlabelled=True)  # whose images are of one class
    evaluate(predict, dataset, "train", SPEC, post)
    assert len(predict.held) == len(tiny.images["train"]) > 5
    assert max(predict.held) <= 1


def test_overlaps_and_masks_are_not_kept(tiny: Dataset) -> None:
    watched = Watched()

    def compare(found: mean_ap.Found) -> tuple[torch.Tensor, ...]:
        (overlaps,) = mean_ap.compare_boxes(found)
        watched.note(overlaps)
        return (overlaps,)

    judge = mean_ap.Judge(("",), compare)
    mean_ap.evaluate(Watched(1, 7, 84), tiny, "train", SPEC, DETECTOR, judge)
    assert len(watched.held) == len(tiny.images["train"]) and max(watched.held) <= 1
