"""Outputs without a kind of their own: read as they are, compared by their numbers."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.core.errors import CompileError
from edgeprune.images.heads import HEADS
from edgeprune.images.postprocess import (
    classifier,
    detector,
    pose_estimator,
    rotated_detector,
    segmenter,
    values,
)

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


SPECS = {
    post.head: post
    for made in (
        [maker(("a",), end2end) for maker in (detector, segmenter, rotated_detector)]
        + [pose_estimator(("a",), (4, 3), end2end)]
        for end2end in (False, True)
    )
    for post in made
} | {"scores": classifier(("a",))}
SHAPES = {
    "raw": ((1, 5, 7),),
    "end2end": ((1, 7, 6),),
    "masks": ((1, 13, 7), (1, 8, 4, 4)),
    "masks-end2end": ((1, 7, 14), (1, 8, 4, 4)),
    "keypoints": ((1, 17, 7),),
    "keypoints-end2end": ((1, 7, 18),),
    "rotated": ((1, 6, 7),),
    "rotated-end2end": ((1, 7, 7),),
    "scores": ((1, 1),),
}


@pytest.mark.parametrize("name", [name for name in HEADS if name != "values"])
def test_outputs_of_another_width_are_refused(name: str) -> None:
    outputs = [np.zeros((*SHAPES[name][0], 1), np.float32), *[np.zeros((1, 8, 4, 4), np.float32)]]
    for one in (outputs[:1], [np.zeros((1, 40, 5), np.float32), *outputs[1:]]):
        with pytest.raises(CompileError, match="expected"):
            HEADS[name].check(one, SPECS[name])


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
    post = SPECS.get(name, POST)
    outputs = [np.zeros(shape, np.float32) for shape in SHAPES.get(name, ((1, 3),))]
    HEADS[name].check(outputs, post)
    for output in outputs:
        output.flat[-1] = np.nan
        with pytest.raises(CompileError, match="NaN or infinite"):
            HEADS[name].check(outputs, post)
        output.flat[-1] = 0
