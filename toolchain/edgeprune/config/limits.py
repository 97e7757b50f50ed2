"""The bounds of every number that a user gives: one table for options, recipes and budgets.

A bound is where a value stops making sense or would only fail later, after minutes of work. It is no advice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Limit:
    """The values that a number may take.

    Attributes:
        whole: whether it is an integer.
        above, below: whether the lowest, or the highest, is itself left out.
    """

    low: float
    high: float
    whole: bool = False
    above: bool = False
    below: bool = False

    def constraints(self) -> dict[str, Any]:
        """Return the bounds as the arguments of pydantic's `Field`."""
        return {"gt" if self.above else "ge": self.low, "lt" if self.below else "le": self.high}

    def holds(self, value: float) -> bool:
        """Whether a number is finite and within the bounds."""
        if not math.isfinite(value):
            return False
        return (value > self.low if self.above else value >= self.low) and (
            value < self.high if self.below else value <= self.high
        )

    def __str__(self) -> str:
        low, high = f"{'above' if self.above else 'from'} {self.low:g}", f"{self.high:g}"
        return f"{low} to {'below ' if self.below else ''}{high}"


def _whole(low: int, high: int) -> Limit:
    return Limit(low, high, whole=True)


_SHARE = Limit(0, 1)
_EPOCHS = 10_000

LIMITS: Final[Mapping[str, Limit]] = {
    # the measurement
    "threads": _whole(1, 1024),
    "in_flight": _whole(2, 256),
    "camera_fps": Limit(0.1, 1000),
    "seconds": Limit(0.001, 86_400),
    "pairs": _whole(6, 10_000),  # 6 is the first look of the gate
    "tau": Limit(0, 1, below=True),
    # budgets and goals
    "max_drop": _SHARE,
    "fps": Limit(0.001, 1e6),
    "latency_ms": Limit(0.001, 1e6),
    "memory_mb": Limit(1, 1e7),
    "accuracy": Limit(0.0001, 1),
    "ratio": Limit(0, 1, below=True),
    "speedup": Limit(1, 20, above=True),
    "macs": Limit(0, 1, above=True, below=True),
    # the input and the draws
    "imgsz": _whole(32, 4096),
    "images_at_once": _whole(1, 256),
    "seed": _whole(0, 2**32 - 1),  # what numpy's and torch's generators both take
    "images": _whole(1, 1_000_000),
    # pruning
    "stride": Limit(0, 1, above=True, below=True),
    "max_ratio": Limit(0, 1, above=True, below=True),
    "depth": _whole(0, 1000),
    "steps": _whole(1, 1000),
    "channel_step": _whole(1, 1024),  # no layer that is common has more channels
    "strength": Limit(0, 1000, above=True),
    # training
    "epochs": _whole(0, _EPOCHS),
    "some_epochs": _whole(1, _EPOCHS),
    "patience": _whole(1, 1_000_000),
    "batch": _whole(1, 4096),
    "lr0": Limit(0, 10, above=True),
    "weight_decay": Limit(0, 10),
    "temperature": Limit(0, 1000, above=True),
    # the search
    "hours": Limit(0, 1000, above=True),
    "trials": _whole(1, 1_000_000),
    "sweep_trials": _whole(1, 20),
    # the export
    "opset": _whole(13, 23),  # what torch's exporter writes
    "check_images": _whole(1, 10_000),
    "box_tolerance": Limit(0, 1000, above=True),
    "score_tolerance": Limit(0, 1, above=True),
}
