"""The history of measurements: one database of results by commit, its series, their change points."""

from __future__ import annotations

from typing import Literal, get_args

DEFAULT = "edgeprune-history.sqlite"
Metric = Literal["p50", "fps", "memory", "accuracy"]
METRICS: tuple[Metric, ...] = get_args(Metric)
