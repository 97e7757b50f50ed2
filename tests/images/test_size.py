"""Sizes of inputs: a number for a square, else height and width."""

from __future__ import annotations

from edgeprune.images.size import input_shape, sides, size_of, size_words


def test_a_square_is_a_number_and_all_else_is_height_and_width() -> None:
    assert sides(320) == sides((320, 320)) == (320, 320)
    assert sides([288, 800]) == (288, 800)  # as JSON has it
    assert (size_of(64, 64), size_of(64, 96)) == (64, (64, 96))
    assert input_shape((64, 96)) == (1, 3, 64, 96)
    assert (size_words(320), size_words((288, 800))) == ("320 px", "288x800 px")
