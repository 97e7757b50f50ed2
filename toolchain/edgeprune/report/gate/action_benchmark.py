"""The candidate's numbers for github-action-benchmark, tool `customSmallerIsBetter`.

https://github.com/benchmark-action/github-action-benchmark
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from edgeprune.gate.result import GateResult, Pair

# Of what is smaller when it is better: metrics with their number in each pair, where they have one.
_SMALLER: dict[str, Callable[[Pair], float | None] | None] = {
    "p50 latency": lambda pair: pair.candidate_ms,
    "p90 latency": lambda pair: pair.candidate_p90_ms,
    "p99 latency": lambda pair: pair.candidate_p99_ms,
    "peak memory": None,
    "device memory": None,
}


def render_action_benchmark(results: Mapping[str, GateResult]) -> str:
    """Return a JSON list of name, unit, value, and for times half the range of the pairs."""
    entries = []
    for target, result in results.items():
        for metric in result.metrics:
            if metric.name not in _SMALLER or metric.candidate is None:
                continue
            entry: dict[str, Any] = {
                "name": f"{target} {metric.name}",
                "unit": metric.unit,
                "value": round(metric.candidate, 6),
                "extra": f"{metric.verdict}: {metric.evidence}",
            }
            read = _SMALLER[metric.name]
            values = [value for pair in result.counted if read and (value := read(pair)) is not None]
            if values:
                entry["range"] = f"± {(max(values) - min(values)) / 2:.4g}"
            entries.append(entry)
    return json.dumps(entries, indent=1, ensure_ascii=False)
