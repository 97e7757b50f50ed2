"""The candidate's numbers in Bencher Metric Format.

https://bencher.dev/docs/reference/bencher-metric-format/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgeprune.gate.result import GateResult

# Bencher's own measures: latency in nanoseconds, throughput in operations per second.
_NS_PER_MS = 1e6
_PLAIN = {
    "peak memory": "peak-memory-mb",
    "device memory": "device-memory-mb",
    "accuracy": "accuracy",
}


def render_bencher(results: Mapping[str, GateResult]) -> str:
    """Return JSON: a benchmark a target; lower and upper values are the extremes of the pairs."""
    return json.dumps({target: _measures(result) for target, result in results.items()}, indent=1)


def _measures(result: GateResult) -> dict[str, Any]:
    measures: dict[str, Any] = {}
    for metric in result.metrics:
        if metric.candidate is None:
            continue
        if metric.name == "p50 latency":
            ns = [pair.candidate_ms * _NS_PER_MS for pair in result.counted]
            measures["latency"] = _bounded(metric.candidate * _NS_PER_MS, ns)
        elif metric.name == "fps":
            measures["throughput"] = _bounded(
                metric.candidate, [pair.candidate_fps for pair in result.counted]
            )
        elif metric.name in _PLAIN:
            measures[_PLAIN[metric.name]] = {"value": round(metric.candidate, 6)}
    return measures


def _bounded(value: float, values: list[float]) -> dict[str, float]:
    bounds = {"lower_value": round(min(values), 3), "upper_value": round(max(values), 3)} if values else {}
    return {"value": round(value, 3)} | bounds
