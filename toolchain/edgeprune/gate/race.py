"""Is one engine faster than another, on the device? Paired like the gate, but asking the other question.

The gate rules out a slow-down; pruning has to prove a gain before a cut is kept.
"""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict

from edgeprune.gate.decision import LOOKS, decide
from edgeprune.gate.pairs import Measure, run_pair
from edgeprune.gate.result import Pair
from edgeprune.records.bench_result import Job

_LOOKS = LOOKS[:2]


class Race(BaseModel):
    """The paired comparison of an engine with the one before it.

    Attributes:
        faster: whether the upper bound of the change is below zero.
        change: median of (time after / time before) - 1; negative when it became faster.
        low, high: one-sided bounds of the change.
        before_ms, after_ms: p50 of each side over the pairs.
        pairs: how many were run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    faster: bool
    change: float
    low: float
    high: float
    before_ms: float
    after_ms: float
    pairs: int


def race(before: Job, after: Job, measure: Measure) -> Race:
    """Run pairs of fresh processes in turns until the change is proven, at most 10 pairs.

    Args:
        measure: runs a fresh process of each job, see `pairs.on_runner`.

    Raises:
        DeviceError: a worker crashed, hung, or answered with garbage.
    """
    pairs: list[Pair] = []
    for look in _LOOKS:
        pairs += [run_pair(before, after, index, measure) for index in range(len(pairs), look)]
        # What disturbs the machine in turns this short meets both sides: each pair is judged by its turns.
        decision = decide([pair.turns_log_ratio for pair in pairs], tau=0.0)
        if decision.upper < 0 or decision.lower > 0:
            break
    middle = len(pairs) // 2
    return Race(
        faster=decision.upper < 0,
        change=math.expm1(decision.median),
        low=math.expm1(decision.lower),
        high=math.expm1(decision.upper),
        before_ms=sorted(pair.baseline_ms for pair in pairs)[middle],
        after_ms=sorted(pair.candidate_ms for pair in pairs)[middle],
        pairs=len(pairs),
    )
