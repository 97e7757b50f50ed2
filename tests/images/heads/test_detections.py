"""Decoding in numpy, for the device, finds what the evaluator's own functions find."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.adapters.ultralytics.mean_ap import detections
from edgeprune.images.heads import HEADS
from edgeprune.images.postprocess import Selection, classifier, detector

NAMES = ("a", "b", "c")


def _raw(seed: int, anchors: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres, sizes = generator.uniform(10, 60, (2, anchors)), generator.uniform(4, 40, (2, anchors))
    scores = generator.permutation(3 * anchors).reshape(3, anchors) / (3 * anchors)  # no two alike
    return np.concatenate([centres, sizes, scores])[None].astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    anchors=st.integers(7, 60),  # of six, ultralytics' function takes the columns for end-to-end rows
    confidence=st.sampled_from([0.001, 0.25, 0.9]),
    multi_label=st.booleans(),
    most=st.sampled_from([3, 300]),
)
def test_a_raw_head_gives_what_the_evaluator_finds(
    seed: int, anchors: int, confidence: float, multi_label: bool, most: int
) -> None:
    post = detector(NAMES, end2end=False)
    selection = Selection(confidence, 0.7, most, multi_label)
    output = _raw(seed, anchors)
    expected = detections([output], post, selection).numpy()
    found = HEADS[post.head].decode([output], post, selection)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_end_to_end_head_is_only_filtered_and_ordered() -> None:
    rows = np.array([[[0, 0, 9, 9, 0.3, 1], [1, 1, 5, 5, 0.8, 2], [0, 0, 1, 1, 0.1, 0]]], np.float32)
    post = detector(NAMES, end2end=True)
    found = HEADS[post.head].decode([rows], post, post.deployment)
    assert found[:, 4:].tolist() == [[pytest.approx(0.8), 2], [pytest.approx(0.3), 1]]


def test_a_classifier_gives_its_best_class() -> None:
    found = HEADS["scores"].decode([np.array([[0.1, 0.7, 0.2]], np.float32)], classifier(NAMES), None)
    assert found.tolist() == [[pytest.approx(0.7), 1]]
