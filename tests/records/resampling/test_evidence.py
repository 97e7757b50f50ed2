"""A resample is scored as if its images had been evaluated, each as often as it was drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ultralytics.utils.metrics import ap_per_class

from edgeprune.adapters.yolov5.accuracy import average_precision
from edgeprune.records.resampling.evidence import RECALLS, Matches, Means, samples_below
from made_matches import detectors, whole

sizes, seeds = st.integers(2, 12), st.integers(0, 10_000)


def by_ultralytics(right: np.ndarray, *others: Any) -> float:
    return float(ap_per_class(right, *others)[5].mean()) if right.any() else 0.0


def by_yolov5(right: np.ndarray, *others: Any) -> float:
    return float(np.mean(list(average_precision(right, *others).values())))


@settings(max_examples=40, deadline=None)
@given(sizes, seeds)
@pytest.mark.parametrize(("tail", "rated"), [("none", by_ultralytics), ("to_one", by_yolov5)])
def test_a_resample_has_the_map_of_its_images(tail: Any, rated: Any, images: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matches = detectors(rng, images, tail)[0]
    weights = np.stack([np.ones(images, dtype=int), *rng.multinomial(images, [1 / images] * images, 3)])
    scores = matches.score(weights)
    for drawn, score in zip(weights, scores, strict=True):
        times = np.repeat(np.arange(len(matches.image)), drawn[matches.image])
        targets = np.repeat(matches.classes, drawn[matches.target_image])
        confidence = -np.arange(len(matches.image), dtype=float)[times]
        if len(targets):
            wanted = rated(matches.right[times], confidence, matches.predicted[times], targets)
            assert score == pytest.approx(wanted, abs=1e-12)
        else:
            assert np.isnan(score)


@given(sizes, seeds)
def test_the_order_of_images_does_not_matter(images: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, order = detectors(rng, images)[0], rng.permutation(images)
    weights = rng.integers(0, 3, (4, images))
    moved = Matches(one.right, one.predicted, order[one.image], one.classes, order[one.target_image])
    back = np.empty_like(weights)
    back[:, order] = weights
    assert np.array_equal(moved.score(back), one.score(weights), equal_nan=True)


def test_large_resamples_are_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    one, weights = detectors(rng, 20)[0], rng.integers(0, 3, (7, 20))
    at_once = one.score(weights)
    monkeypatch.setattr("edgeprune.records.resampling.evidence.AT_ONCE", 100)
    assert np.array_equal(one.score(weights), at_once)


def test_samples_below_a_recall_are_counted_as_numpy_does() -> None:
    shares = [hits / targets for targets in range(1, 301) for hits in range(targets + 1)]
    assert samples_below(np.array(shares)).tolist() == np.searchsorted(RECALLS, shares).tolist()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), seeds)
def test_a_mean_is_weighted_by_how_often_an_image_is_drawn(values: list[float], seed: int) -> None:
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(values))) + 1
    wanted = [np.repeat(values, drawn).mean() for drawn in weights]
    assert Means(np.array(values)).score(weights) == pytest.approx(np.array(wanted))
    assert whole(Means(np.array(values)), len(values)) == pytest.approx(np.mean(values))


def test_nothing_right_and_nothing_to_find() -> None:
    nothing, one = np.zeros((0, 10), dtype=bool), np.zeros(1, dtype=int)
    empty = one[:0]
    assert whole(Matches(nothing, empty, empty, one, one), 2) == 0
    assert np.isnan(whole(Matches(nothing, empty, empty, empty, empty), 2))
    wrong = Matches(np.zeros((1, 10), dtype=bool), one + 5, one, one, one)
    assert whole(wrong, 2) == 0
