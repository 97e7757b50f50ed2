"""Measurements of a fraction of a second, for tests in which it does not matter what is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgeprune.bench.effort import PROFILES, BenchProfile, Effort, TablePlan
from edgeprune.bench.testbed import Testbed, local

TINY = BenchProfile(
    blocks=1, min_queries=60, min_seconds=0.05, warmup_s=0.0, warmup_cap_s=0.2, cold_runs=2, timeout_s=120.0
)
TINY_EFFORT = Effort(
    profiles=dict.fromkeys(PROFILES, TINY),
    tuning=TINY,
    pacing=TINY,
    racing=replace(TINY, min_queries=8, min_seconds=0.0),
    pairing=replace(TINY, min_queries=64, min_seconds=0.02),
    memory_runs=1,
    table=TablePlan(rounds=2, queries=1, seconds=0.0, axis=2, scans=1),
    counting_warmup_s=0.0,
)


def quickly() -> Testbed:
    """Return this machine, on which next to nothing is measured."""
    return local(TINY_EFFORT)


def quick(**changes: Any) -> Effort:
    """Return the tiny effort with another profile `quick`."""
    return replace(TINY_EFFORT, profiles={"quick": replace(TINY, **changes)})
