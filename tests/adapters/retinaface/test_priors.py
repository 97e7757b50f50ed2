"""Anchors and offsets: SSD's arithmetic, forth and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_convert

from edgeprune.adapters.retinaface.priors import (
    decode,
    decode_landmarks,
    encode,
    encode_landmarks,
    prior_boxes,
)


@pytest.mark.parametrize(("shape", "count"), [((64, 96), 252), ((640, 640), 16800), ((40, 40), 76)])
def test_there_are_two_anchors_a_cell_of_three_strides(shape: tuple[int, int], count: int) -> None:
    priors = prior_boxes(shape)
    assert priors.shape == (count, 4)
    assert priors[:4].tolist() == [[4, 4, 10, 10], [4, 4, 20, 20], [12, 4, 10, 10], [12, 4, 20, 20]]
    assert priors[-1, 2:].tolist() == [256, 256]


@given(
    corner=st.tuples(st.floats(0, 500), st.floats(0, 500)),
    size=st.tuples(st.floats(2, 300), st.floats(2, 300)),
    which=st.integers(0, 2099),
)
def test_a_box_and_its_landmarks_come_back_from_their_offsets(
    corner: tuple[float, float], size: tuple[float, float], which: int
) -> None:
    prior = prior_boxes((320, 320))[which : which + 1]
    low = torch.tensor([corner])
    box = torch.cat([low, low + torch.tensor([size])], 1)
    points = (low + torch.tensor([size]) * torch.rand(5, 2)).reshape(1, 10)
    again = box_convert(decode(encode(box, prior), prior), "cxcywh", "xyxy")
    assert torch.allclose(again, box, atol=0.01)
    assert torch.allclose(decode_landmarks(encode_landmarks(points, prior), prior), points, atol=0.01)
