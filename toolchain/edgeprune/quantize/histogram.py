"""What is kept of a tensor over all calibration images: its extent, or a histogram that grows with it.

Both take one image's values at a time and need the same memory after one image and after a thousand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 2048
"""Bins on either side of 0; as many as TensorRT's and MXNet's calibrators have for absolute values."""
_LEAST_EXPONENT = -100  # so that the width of a bin is a normal number


@dataclass
class Extent:
    """The least and the greatest value seen."""

    low: float = math.inf
    high: float = -math.inf

    def add(self, values: npt.NDArray[Any]) -> None:
        """Take in the values of one image, of any shape.

        Raises:
            ValueError: one of them is NaN or infinite.
        """
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("NaN or infinite values")
        self.low, self.high = min(self.low, low), max(self.high, high)

    @property
    def largest(self) -> float:
        """The greatest absolute value; 0 before any was seen."""
        return max(-self.low, self.high, 0.0)


@dataclass
class Histogram(Extent):
    """Counts of values in bins of one width, the bin `i` holding [i * width, (i + 1) * width).

    The width is a power of two, so that a bin of a wider histogram is exactly the sum of bins of a narrower
    one: a histogram grown image by image equals the one of all images at once, in any order.

    Attributes:
        exponent: all values are below 2 ** exponent; None before any was seen.
        counts: int64 of shape (2 * BINS,); the bin 0 is in the middle, at index BINS.
    """

    exponent: int | None = None
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(2 * BINS, dtype=np.int64))

    @property
    def width(self) -> float:
        """Width of a bin."""
        return math.ldexp(1 / BINS, self.exponent or 0)

    def add(self, values: npt.NDArray[Any]) -> None:
        """Take in the values of one image, of any shape.

        Raises:
            ValueError: one of them is NaN or infinite.
        """
        super().add(values)
        if not values.size:
            return
        self._grow(max(math.frexp(self.largest)[1] if self.largest else _LEAST_EXPONENT, _LEAST_EXPONENT))
        # In double precision, where scaling by a power of two is exact for every float32.
        bins = np.floor(np.multiply(values, 1 / self.width, dtype=np.float64)).astype(np.int64)
        self.counts += np.bincount(bins.ravel() + BINS, minlength=2 * BINS)

    def _grow(self, exponent: int) -> None:
        if self.exponent is None:
            self.exponent = exponent
        while self.exponent < exponent:
            wider = np.zeros_like(self.counts)
            wider[BINS // 2 : -BINS // 2] = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts, self.exponent = wider, self.exponent + 1
