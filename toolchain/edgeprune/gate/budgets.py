"""Absolute budgets of the candidate: `fps>=30`, judged on its measured pairs, runs or recorded accuracy."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from edgeprune.config.limits import LIMITS
from edgeprune.core.errors import ConfigError, did_you_mean
from edgeprune.gate.result import AccuracyPair, MetricVerdict, Pair

Sense = Literal["<=", ">="]

# The only sense that each makes, and its unit.
SENSES: Final[dict[str, tuple[Sense, str]]] = {
    "fps": (">=", "FPS"),
    "p50_ms": ("<=", "ms"),
    "p90_ms": ("<=", "ms"),
    "peak_mb": ("<=", "MB"),
    "score": (">=", ""),
    "map50_95": (">=", "mAP50-95"),
    "top1": (">=", "top-1"),
}
_BOUNDS = {
    "fps": "fps",
    "p50_ms": "latency_ms",
    "p90_ms": "latency_ms",
    "peak_mb": "memory_mb",
    "score": "accuracy",
    "map50_95": "accuracy",
    "top1": "accuracy",
}
TIMED = ("fps", "p50_ms", "p90_ms")
ACCURACY: Final[dict[str, str | None]] = {"score": None, "map50_95": "mAP50-95", "top1": "top-1"}
"""Budgets on the accuracy, and the metric that each asks for; `score` takes whatever it is measured by."""
_WRITTEN = re.compile(r"\s*([\w-]+)\s*(<=|>=)\s*([-+.\w]+)\s*")


@dataclass(frozen=True)
class Budget:
    """A limit on one number of the candidate.

    Attributes:
        metric: a key of `SENSES`.
        limit: in that metric's unit, above 0.
    """

    metric: str
    limit: float

    @property
    def name(self) -> str:
        """The budget as it is written on the command line."""
        return f"{self.metric}{SENSES[self.metric][0]}{self.limit:g}"

    @property
    def unit(self) -> str:
        """The unit of the number and of the limit."""
        return SENSES[self.metric][1]

    def log_ratio(self, value: float) -> float:
        """Return log(value / limit), or its negative for a lower limit: positive outside the budget."""
        ratio = math.log(value / self.limit)
        return ratio if SENSES[self.metric][0] == "<=" else -ratio

    def value_of(self, pair: Pair) -> float:
        """Return the candidate's number in one pair.

        Raises:
            ConfigError: it was not measured: too few samples for the percentile.
        """
        if self.metric == "p90_ms" and pair.candidate_p90_ms is None:
            raise ConfigError(f"--budget {self.name}: p90 was not measured, a pair had too few samples")
        values = {"fps": pair.candidate_fps, "p50_ms": pair.candidate_ms, "p90_ms": pair.candidate_p90_ms}
        return float(values[self.metric] or 0.0)


def parse_budget(text: str) -> Budget:
    """Read a budget such as ``fps>=30``, ``p90_ms<=12.5`` or ``top-1>=0.7``.

    Raises:
        ConfigError: it is not a metric, a sense and a number above 0, or the sense is the wrong one.
    """
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise ConfigError(f"--budget {text!r}: not a metric, <= or >=, and a number, such as fps>=30")
    metric, sense, written = found[1].lower().replace("top-1", "top1"), found[2], found[3]
    if metric not in SENSES:
        known = ", ".join(SENSES)
        raise ConfigError(
            f"--budget {text!r}: {metric!r} is not one of {known}{did_you_mean(metric, SENSES)}"
        )
    try:
        limit = float(written)
    except ValueError as exc:
        raise ConfigError(f"--budget {text!r}: {written!r} is not a number") from exc
    bounds = LIMITS[_BOUNDS[metric]]
    if not bounds.holds(limit):
        raise ConfigError(f"--budget {text!r}: a limit of {metric} is a number {bounds}")
    if sense != (right := SENSES[metric][0]):
        raise ConfigError(f"--budget {text!r}: a limit of {metric} is written {metric}{right}{limit:g}")
    return Budget(metric, limit)


def check_measurable(budgets: Sequence[Budget], accuracy: AccuracyPair | None) -> None:
    """Refuse a budget on an accuracy that the candidate does not come with, before anything is measured.

    Raises:
        ConfigError: naming the budget.
    """
    for budget in budgets:
        if budget.metric not in ACCURACY:
            continue
        metric = ACCURACY[budget.metric]
        if accuracy is None or metric not in (None, accuracy.metric):
            known = "no accuracy is known" if accuracy is None else f"only {accuracy.metric} is known"
            raise ConfigError(
                f"--budget {budget.name}: {metric or 'the accuracy'} of the candidate was not measured, "
                f"{known}; a build records it on its val split"
            )


def accuracy_budget(budget: Budget, accuracy: AccuracyPair) -> MetricVerdict:
    """Judge a budget on the accuracy that the candidate's build recorded."""
    judged = _fixed(budget, accuracy.candidate, f"{accuracy.metric} {accuracy.candidate:.4f}")
    return judged.model_copy(update={"unit": accuracy.metric})


def memory_budget(budget: Budget, peaks_mb: Sequence[float]) -> MetricVerdict:
    """Judge a budget on the median of the candidate's peaks of memory, in MB of 1e6 bytes."""
    peak = float(np.median(peaks_mb))
    return _fixed(budget, peak, f"peak memory {peak:.1f} MB, the median of {len(peaks_mb)} runs")


def _fixed(budget: Budget, value: float, words: str) -> MetricVerdict:
    inside = value >= budget.limit if SENSES[budget.metric][0] == ">=" else value <= budget.limit
    return MetricVerdict(
        name=budget.name,
        verdict="pass" if inside else "fail",
        evidence=words,
        budget=True,
        candidate=value,
        unit=budget.unit,
    )
