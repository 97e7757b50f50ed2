"""The metrics of the gate that no sequential test decides: memory, accuracy, and what is only shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeprune.bench.budgets import ACCURACY, Budget, accuracy_budget, memory_budget
from edgeprune.bench.gate_result import AccuracyPair, Metric, Pair
from edgeprune.bench.result import WorkerReport

MEMORY_RATIO, MEMORY_MB = 1.02, 2 * 1.048576  # 2 % and 2 MiB


def medians(pairs: Sequence[Pair], field: str) -> tuple[float, float]:
    """Return the medians over the pairs of a field of both sides."""
    before, now = (
        float(np.median([getattr(pair, f"{side}_{field}") for pair in pairs]))
        for side in ("baseline", "candidate")
    )
    return before, now


def advice(pairs: Sequence[Pair]) -> list[Metric]:
    """Return the p90 latency, which decides nothing: the tail of a short block is too noisy to be gated."""
    if any(pair.baseline_p90_ms is None or pair.candidate_p90_ms is None for pair in pairs):
        return []
    before, now = medians(pairs, "p90_ms")
    return [
        Metric(
            name="p90 latency",
            verdict="advisory",
            evidence=f"{before:.4g} ms before, {now:.4g} ms now",
            baseline=before,
            candidate=now,
            unit="ms",
        )
    ]


def memory_metrics(
    baseline: Sequence[WorkerReport], candidate: Sequence[WorkerReport], budgets: Sequence[Budget]
) -> list[Metric]:
    """Fail on a median peak of the runs that is more than 2 % and more than 2 MiB higher."""
    peaks = [[run.memory.peak_hwm for run in runs if run.memory] for runs in (baseline, candidate)]
    a, b = (float(np.median(side)) for side in peaks)
    worse = b > a * MEMORY_RATIO and b - a > MEMORY_MB
    gated = Metric(
        name="peak memory",
        verdict="fail" if worse else "pass",
        evidence=f"{a:.1f} MB before, {b:.1f} MB now",
        baseline=a,
        candidate=b,
        unit="MB",
    )
    return [gated, *(memory_budget(budget, peaks[1]) for budget in budgets if budget.metric == "peak_mb")]


def accuracy_metrics(pair: AccuracyPair | None, budgets: Sequence[Budget]) -> list[Metric]:
    """Fail on a drop that is larger than allowed; nothing is judged that is not known of both sides."""
    if pair is None:
        return []
    metrics = [accuracy_budget(budget, pair) for budget in budgets if budget.metric in ACCURACY]
    if pair.baseline is None:
        return metrics
    drop = pair.baseline - pair.candidate
    evidence = (
        f"{pair.metric} {pair.baseline:.4f} before, {pair.candidate:.4f} now (allowed drop {pair.max_drop:g})"
    )
    gated = Metric(
        name="accuracy",
        verdict="fail" if drop > pair.max_drop else "pass",
        evidence=evidence,
        baseline=pair.baseline,
        candidate=pair.candidate,
        unit=pair.metric,
    )
    return [gated, *metrics]
