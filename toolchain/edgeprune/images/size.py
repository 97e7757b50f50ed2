"""Sizes of inputs, in pixels: the side of a square, or height and width.

Standard library only: this file travels to the device.
"""

from __future__ import annotations

from collections.abc import Sequence

ImageSize = int | tuple[int, int]
"""The side of a square input, or its height and width."""


def sides(imgsz: int | Sequence[int]) -> tuple[int, int]:
    """Return height and width."""
    return (imgsz, imgsz) if isinstance(imgsz, int) else (imgsz[0], imgsz[1])


def size_of(height: int, width: int) -> ImageSize:
    """Return a height and a width as one size: a number where they are the same."""
    return height if height == width else (height, width)


def input_shape(imgsz: int | Sequence[int]) -> tuple[int, int, int, int]:
    """Return the shape of one input of that size, (1, 3, height, width)."""
    return (1, 3, *sides(imgsz))


def size_words(imgsz: int | Sequence[int]) -> str:
    """Return a size in words, such as ``320 px`` or ``288x800 px``, height first."""
    height, width = sides(imgsz)
    return f"{height} px" if height == width else f"{height}x{width} px"
