"""Outputs without a kind of their own: read as they are, compared by their numbers."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.core.errors import CompileError
from edgeprune.images.heads import HEADS
from edgeprune.images.postprocess import classifier, detector, values

POST = values("depth")
HEAD = HEADS[POST.head]


def test_they_are_read_as_they_are_and_decide_nothing() -> None:
    output = np.arange(12, dtype=np.float64).reshape(1, 3, 4)
    found = HEAD.decode([output, output], POST, None)
    assert found.dtype == np.float32 and np.array_equal(found, output[0])
    assert HEAD.shared([output], [output], POST) is None


def test_the_largest_difference_over_all_outputs_counts() -> None:
    one = [np.zeros((1, 4)), np.zeros((1, 2, 2))]
    other = [np.zeros((1, 4)), np.full((1, 2, 2), -0.5)]
    found = HEAD.difference(one, other)
    assert (found.box_px, found.score) == (None, 0.5)
    assert HEAD.error(one, one) == 0 < HEAD.error(one, other)


@pytest.mark.parametrize(
    ("post", "shape", "wanted"),
    [
        (classifier(("a", "b")), (1, 3), r"shape \(1, 3\), \(1, 2\) is expected"),
        (detector(("a", "b"), end2end=False), (1, 5, 9), r"\(1, 6, anchors\) is expected"),
        (detector(("a", "b"), end2end=True), (1, 9, 5), r"\(1, detections, 6\) is expected"),
    ],
)
def test_an_output_of_another_shape_is_refused(post, shape: tuple[int, ...], wanted: str) -> None:
    with pytest.raises(CompileError, match=wanted):
        HEADS[post.head].check([np.zeros(shape, np.float32)], post)


@pytest.mark.parametrize("name", HEADS)
def test_what_is_no_number_is_refused(name: str) -> None:
    post = {"raw": detector(("a",), False), "end2end": detector(("a",), True), "scores": classifier(("a",))}
    shape = {"raw": (1, 5, 7), "end2end": (1, 7, 6), "scores": (1, 1)}.get(name, (1, 3))
    with pytest.raises(CompileError, match="NaN or infinite"):
        HEADS[name].check([np.full(shape, np.nan, np.float32)], post.get(name, POST))
