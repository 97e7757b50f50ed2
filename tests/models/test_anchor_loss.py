"""The loss of classic YOLOv5, against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.models.anchor_loss import AnchorLoss, Gains, assign, usual_gains

ANCHORS = torch.tensor([[2.0, 2.0], [8.0, 2.0]])
SIZE = (4, 8)  # rows and columns


def target(x: float, y: float, width: float, height: float) -> torch.Tensor:
    """Return one target of class 1 in image 0, given in cells of a level of `SIZE`."""
    return torch.tensor([[0, 1, x / SIZE[1], y / SIZE[0], width / SIZE[1], height / SIZE[0]]])


def test_a_target_goes_to_its_cell_and_the_two_that_are_nearest() -> None:
    found = assign(target(2.25, 1.75, 2, 2), ANCHORS[:1], SIZE, 4)
    assert {(int(x), int(y)) for x, y in zip(found.column, found.row, strict=True)} == {
        (2, 1),
        (1, 1),
        (2, 2),
    }
    for column, row, box in zip(found.column, found.row, found.box, strict=True):
        assert box.tolist() == pytest.approx([2.25 - int(column), 1.75 - int(row), 2, 2])
    assert found.classes.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("width", "height", "anchors"),
    [
        (2, 2, {0}),
        (4, 2, {0, 1}),
        (7.9, 2, {0, 1}),
        (8, 2, {1}),
        (0.4, 2, set()),
        (8, 7.9, {1}),
        (8, 8, set()),
    ],
)
def test_anchors_whose_sides_differ_by_less_than_a_factor_of_four_take_it(
    width: float, height: float, anchors: set[int]
) -> None:
    found = assign(target(4.5, 1.5, width, height), ANCHORS, SIZE, 4)
    assert set(found.anchor.tolist()) == anchors


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1), st.floats(0.01, 1))
def test_no_place_lies_outside_its_level(x: float, y: float, width: float, height: float) -> None:
    found = assign(torch.tensor([[0, 0, x, y, width, height]]), ANCHORS, SIZE, 4)
    assert ((found.row >= 0) & (found.row < SIZE[0])).all()
    assert ((found.column >= 0) & (found.column < SIZE[1])).all()
    assert (found.box[:, :2].abs() <= 1.5).all()


def levels_of_zeros() -> list[torch.Tensor]:
    """Return outputs of three levels, two anchors and two classes: every sigmoid is a half."""
    return [torch.zeros(1, 2, 7, rows, 2 * rows, requires_grad=True) for rows in (16, 8, 4)]


def test_the_loss_of_an_empty_image_is_that_of_objectness_alone() -> None:
    loss = AnchorLoss(ANCHORS.expand(3, 2, 2), 2, Gains(box=1, obj=1, cls=1))
    empty = {"batch_idx": torch.zeros(0), "cls": torch.zeros(0, 1), "bboxes": torch.zeros(0, 4)}
    total, parts = loss({"levels": levels_of_zeros()}, empty)
    assert total.tolist() == pytest.approx([0, (4 + 1 + 0.4) * math.log(2), 0])
    assert list(parts) == ["box_loss", "obj_loss", "cls_loss"]


def test_a_perfect_box_costs_nothing_and_makes_its_place_an_object() -> None:
    """Every box of zeros is its anchor in the middle of its cell."""
    one_level = AnchorLoss(
        torch.stack((ANCHORS * 100, ANCHORS * 100, ANCHORS)), 2, Gains(box=1, obj=1, cls=1)
    )
    batch = {
        "batch_idx": torch.zeros(1),
        "cls": torch.ones(1, 1),
        "bboxes": target(4.5, 1.5, 2, 2)[:, 2:],
    }
    outputs = levels_of_zeros()
    total, _ = one_level({"levels": outputs}, batch)
    # A centre in the middle of its cell is as near to no neighbour: the cell has it alone.
    assert total.tolist() == pytest.approx([0, 5.4 * math.log(2), math.log(2)], abs=1e-6)
    total.sum().backward()
    gradient = outputs[2].grad
    assert gradient is not None
    assert gradient[0, 0, 4, 1, 4] < 0 < gradient[0, 0, 4, 0, 0]  # this one up, all others down
    assert gradient[0, 0, 6, 1, 4] < 0 < gradient[0, 0, 5, 1, 4]


def test_usual_gains_are_scaled_by_classes_levels_and_size() -> None:
    gains = usual_gains(classes=3, levels=3, imgsz=320)
    assert (gains.box, gains.obj, gains.cls) == pytest.approx((0.05, 0.25, 0.01875))  # as YOLOv5 printed them
