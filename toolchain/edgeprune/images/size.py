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


def misfit(imgsz: int | Sequence[int], stride: int) -> str | None:
    """Say why a network of that stride does not take a size, with the nearest that it takes; None if it does.

    A network halves its input again and again: both sides have to be whole multiples of its stride.
    """
    height, width = sides(imgsz)
    if height % stride == width % stride == 0:
        return None
    if height == width:
        lower = max(stride, height // stride * stride)
        near = f"{lower} and {lower + stride} are the nearest"
    else:
        near = "x".join(str(max(1, round(side / stride)) * stride) for side in (height, width))
        near += " is the nearest"
    return f"{size_text(imgsz)} is not a multiple of the model's stride {stride}; {near}"


def smaller_sizes(imgsz: ImageSize, stride: int) -> list[ImageSize]:
    """Return smaller inputs of about the same shape, the largest first, down to half the sides.

    Each is a tenth of the sides smaller than the one before, or one stride where that is more.

    Args:
        stride: every side is a multiple of it.
    """
    steps = min(sides(imgsz)) // stride
    each = max(1, round(steps / 10))
    return [size_at(imgsz, stride, count) for count in range(steps - each, (steps - 1) // 2, -each)]


def size_at(imgsz: ImageSize, stride: int, count: int) -> ImageSize:
    """Return an input of about the same shape whose shorter side has so many strides."""
    height, width = sides(imgsz)
    steps = min(height, width) // stride

    def at(side: int) -> int:
        return stride * max(1, round(side * count / (stride * steps)))

    return size_of(at(height), at(width))


def input_shape(imgsz: int | Sequence[int], batch: int = 1) -> tuple[int, int, int, int]:
    """Return the shape of an input of so many images of that size, (batch, 3, height, width)."""
    return (batch, 3, *sides(imgsz))


def size_text(imgsz: int | Sequence[int]) -> str:
    """Return a size as a user writes it, such as ``320`` or ``288x800``, height first."""
    height, width = sides(imgsz)
    return f"{height}" if height == width else f"{height}x{width}"


def size_words(imgsz: int | Sequence[int]) -> str:
    """Return a size in words, such as ``320 px`` or ``288x800 px``, height first."""
    return f"{size_text(imgsz)} px"
