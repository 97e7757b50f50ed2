"""Sizes of inputs: a number for a square, else height and width."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.images.size import input_shape, misfit, sides, size_of, size_words, smaller_sizes


def test_a_square_is_a_number_and_all_else_is_height_and_width() -> None:
    assert sides(320) == sides((320, 320)) == (320, 320)
    assert sides([288, 800]) == (288, 800)  # as JSON has it
    assert (size_of(64, 64), size_of(64, 96)) == (64, (64, 96))
    assert input_shape((64, 96)) == (1, 3, 64, 96)
    assert (size_words(320), size_words((288, 800))) == ("320 px", "288x800 px")


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (96, None),
        ((64, 96), None),
        (100, "100 is not a multiple of the model's stride 32; 96 and 128 are the nearest"),
        ((360, 640), "360x640 is not a multiple of the model's stride 32; 352x640 is the nearest"),
        ((10, 30), "10x30 is not a multiple of the model's stride 32; 32x32 is the nearest"),
    ],
)
def test_a_size_that_a_network_does_not_take_is_told_with_the_nearest(
    size: int | tuple[int, int], said: str | None
) -> None:
    assert misfit(size, 32) == said


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from((8, 16, 32, 64)))
def test_the_nearest_size_is_one_that_the_network_takes(height: int, width: int, stride: int) -> None:
    if said := misfit((height, width), stride):
        *_, near = re.findall(r"[\dx]+(?= (?:is|are) the nearest)", said)
        assert misfit([int(side) for side in near.split("x")] * (2 if "x" not in near else 1), stride) is None


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([8, 32, 64]))
def test_smaller_sizes_fall_to_half_the_sides_in_multiples_of_the_stride(
    height: int, width: int, stride: int
) -> None:
    whole = (height * stride, width * stride)
    found = [sides(size) for size in smaller_sizes(whole, stride)]
    assert all(side % stride == 0 and side > 0 for size in found for side in size)
    shorts = [min(size) for size in found]
    assert all(small < large for large, small in zip([min(whole), *shorts], shorts, strict=False))
    assert all(short >= min(whole) / 2 - stride / 2 for short in shorts)
