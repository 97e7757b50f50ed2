"""The size of the input as a user gives it, in a command or a recipe: 640, 384x640 or [384, 640]."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from edgeprune.config.limits import LIMITS

_WRITTEN = re.compile(r"(-?\d{1,20})(?:\s*[x,]\s*(-?\d{1,20}))?")
_EXPECTED = "not a size in pixels: 640, or height and width such as 384x640, is expected"


def read_size(value: Any) -> int | tuple[int, int]:
    """Return the side of a square, or height and width, of what a user gives.

    Args:
        value: a number, a text such as ``640``, ``384x640`` or ``384,640``, or a list of one or two numbers.

    Raises:
        ValueError: it is no size, or a side is outside its bounds.
    """
    sides = _sides(value)
    limit = LIMITS["imgsz"]
    if beyond := [side for side in sides if not limit.holds(side)]:
        raise ValueError(f"{beyond[0]} is not in the range {limit.low}<=x<={limit.high}")
    return sides[0] if len(set(sides)) == 1 else (sides[0], sides[1])


def _sides(value: Any) -> list[int]:
    if isinstance(value, str) and (found := _WRITTEN.fullmatch(value.strip())):
        return [int(side) for side in found.groups() if side is not None]
    sides = list(value) if isinstance(value, (list, tuple)) else [value]
    if len(sides) in (1, 2) and all(type(side) is int for side in sides):
        return sides
    raise ValueError(_EXPECTED)


_Side = Annotated[int, Field(**LIMITS["imgsz"].constraints())]
InputSize = Annotated[_Side | tuple[_Side, _Side], BeforeValidator(read_size)]
"""The side of a square input, or its height and width, in pixels; a key of the recipe."""
