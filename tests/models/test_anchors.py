"""The head of classic YOLOv5: its decode, what training and distillation get of it."""

from __future__ import annotations

import pytest
import torch

from edgeprune.models.anchors import AnchorDetect

STRIDE = torch.tensor([8.0, 16.0])
ANCHORS = torch.tensor([[[10.0, 20.0], [30.0, 40.0]], [[50.0, 60.0], [70.0, 80.0]]])


def head() -> AnchorDetect:
    """Return a head of two levels, two anchors and three classes on features of four channels, all zeros."""
    made = AnchorDetect(3, ANCHORS, STRIDE, [4, 4]).eval()
    for part in made.m:
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)
    return made


def features(rows: int = 4, columns: int = 6) -> list[torch.Tensor]:
    return [torch.zeros(2, 4, rows, columns), torch.zeros(2, 4, rows // 2, columns // 2)]


def test_zeros_are_the_anchors_in_the_middle_of_their_cells() -> None:
    boxes = head()(features())[0]
    assert boxes.shape == (2, 7, 2 * 24 + 2 * 6)
    first, later = boxes[0, :, 1].tolist(), boxes[1, :, 48 + 6 + 5].tolist()
    assert first == pytest.approx([12, 4, 10, 20, 0.25, 0.25, 0.25])  # second cell, first anchor
    assert later == pytest.approx([40, 24, 70, 80, 0.25, 0.25, 0.25])  # last cell, last anchor


def test_the_places_follow_the_size_of_the_input() -> None:
    made = head()
    made.export = True
    small, large = made(features(2, 2)), made(features())
    assert small.shape[2] == 2 * 4 + 2 * 1
    assert torch.equal(made(features()), large)
    assert large[0, :2].amax() > small[0, :2].amax()


def test_distillation_sees_the_best_box_of_each_cell() -> None:
    made = head()
    torch.nn.init.normal_(made.m[0].bias)
    boxes, told = made(features())
    by_cell = told["scores"].sigmoid().amax(1)
    wanted = boxes[:, 4:, :48].reshape(2, 3, 2, 24).amax((1, 2))
    assert by_cell.shape == (2, 24 + 6)
    assert torch.allclose(by_cell[:, :24], wanted, atol=1e-6)


def test_training_gets_the_outputs_as_they_are() -> None:
    told = head().train()(features())
    assert [tuple(level.shape) for level in told["levels"]] == [(2, 2, 8, 4, 6), (2, 2, 8, 2, 3)]
    assert all(not level.any() for level in told["levels"])
