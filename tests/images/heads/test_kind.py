"""Decisions that two runs share: detections with a partner, the best class of an image."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.images.heads import HEADS, Shared
from edgeprune.images.postprocess import Postprocess, classifier, detector


def shared_decisions(one: np.ndarray, other: np.ndarray, post: Postprocess) -> Shared:
    found = HEADS[post.head].shared([one], [other], post)
    assert found is not None
    return found


NAMES = ("ant", "bee")
DETECTOR = detector(NAMES, end2end=True)


def detected(*rows: tuple[float, ...]) -> np.ndarray:
    """Return the output of an end-to-end head: one image, boxes of x1, y1, x2, y2, score, class."""
    return np.array([[*rows, *[(0.0,) * 6] * (4 - len(rows))]], dtype=np.float32)


BOX = (10.0, 10.0, 50.0, 50.0)


@pytest.mark.parametrize(
    ("other", "count", "shared"),
    [
        (detected((11, 10, 50, 51, 0.88, 0)), 2, 2),  # moved a little
        (detected((*BOX, 0.22, 0)), 1, 1),  # less sure, on the other side of the threshold
        (detected((*BOX, 0.9, 1)), 2, 0),  # of another class
        (detected((60, 60, 90, 90, 0.9, 0)), 2, 0),  # elsewhere
        (detected(), 1, 0),  # gone
        (detected((*BOX, 0.9, 0), (60, 60, 90, 90, 0.9, 1)), 3, 2),  # one more
    ],
)
def test_a_detection_is_shared_when_the_other_run_has_its_partner(
    other: np.ndarray, count: int, shared: int
) -> None:
    found = shared_decisions(detected((*BOX, 0.9, 0)), other, DETECTOR)
    assert (found.what, found.count, found.shared) == ("detections", count, shared)


def test_what_neither_run_is_sure_of_does_not_count() -> None:
    found = shared_decisions(detected((*BOX, 0.24, 0)), detected((*BOX, 0.21, 1)), DETECTOR)
    assert (found.count, found.shared) == (0, 0)


def test_of_a_classifier_the_best_class_of_each_image_counts() -> None:
    one, other = np.float32([[0.9, 0.1], [0.4, 0.6]]), np.float32([[0.8, 0.2], [0.51, 0.49]])
    found = shared_decisions(one, other, classifier(NAMES))
    assert (found.what, found.count, found.shared) == ("classes", 2, 1)


def raw(*columns: tuple[float, ...]) -> np.ndarray:
    """Return the output of a raw head: one image, columns of centre, size and a score for each class."""
    return np.float32([columns]).transpose(0, 2, 1)


def test_a_duplicate_that_nms_keeps_in_one_run_only_is_shared() -> None:
    """Two boxes that overlap by 0.7, a last bit more or less: NMS drops one of them or keeps both."""
    first, shift = (50.0, 50.0, 40.0, 40.0, 0.9, 0.0), 40 * 0.3 / 1.7
    kept, dropped = ((50.0 + shift + by, 50.0, 40.0, 40.0, 0.5, 0.0) for by in (0.1, -0.1))
    found = shared_decisions(raw(first, kept), raw(first, dropped), detector(NAMES, end2end=False))
    assert (found.count, found.shared) == (3, 3)
