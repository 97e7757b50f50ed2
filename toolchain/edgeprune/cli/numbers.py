"""Numbers on the command line: each option's bounds are those of `limits.LIMITS`, told when it is parsed."""

from __future__ import annotations

import math
from typing import Any

import click

from edgeprune.config.input_size import read_size
from edgeprune.config.limits import LIMITS, Limit

_LONGEST = 40  # characters of a number; a float needs 24


def number(name: str) -> click.ParamType[Any]:
    """Return the type of an option whose bounds are those of a name in `LIMITS`."""
    limit = LIMITS[name]
    if name == "imgsz":
        return Size()
    return Whole(limit) if limit.whole else Real(limit)


class Whole(click.IntRange):
    """An integer within its bounds."""

    def __init__(self, limit: Limit) -> None:
        super().__init__(int(limit.low), int(limit.high))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the integer, or fail with its range."""
        return super().convert(_of_sane_length(self, value, param, ctx), param, ctx)


class Real(click.FloatRange):
    """A finite number within its bounds."""

    def __init__(self, limit: Limit) -> None:
        super().__init__(limit.low, limit.high, limit.above, limit.below)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or fail with its range; what is no number is in no range."""
        found = super().convert(_of_sane_length(self, value, param, ctx), param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is not a number in the range {self._describe_range()}.", param, ctx)
        return found


class Milliseconds(Real):
    """A time such as ``8``, ``8ms`` or ``7.5 ms``."""

    name = "milliseconds"

    def __init__(self) -> None:
        super().__init__(LIMITS["latency_ms"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the time in milliseconds, or fail."""
        text = str(value).strip().lower().removesuffix("ms")
        try:
            float(text)
        except ValueError:
            self.fail(f"{str(value)[:_LONGEST]!r} is not a time in milliseconds, such as 8ms", param, ctx)
        return super().convert(text, param, ctx)


class Size(click.ParamType[Any]):
    """The size of an input: ``640``, or height and width such as ``384x640`` or ``384,640``."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | tuple[int, int]:
        """Return the side of a square, or height and width, or fail with what is expected."""
        try:
            return read_size(_of_sane_length(self, value, param, ctx))
        except ValueError as exc:
            self.fail(f"{exc}", param, ctx)


def _of_sane_length(
    kind: click.ParamType[Any], value: Any, param: click.Parameter | None, ctx: click.Context | None
) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST:
        kind.fail(f"{value[:_LONGEST]!r}... is no number of at most {_LONGEST} characters.", param, ctx)
    return value
