"""The gate's verdict as plain text."""

from __future__ import annotations

from collections.abc import Mapping

from edgeprune.gate.result import Failure, GateResult
from edgeprune.report.cells import plain

_LEAST_WIDTH = 12


def render_table(results: Mapping[str, GateResult], failure: Failure | None = None) -> str:
    """Return a line with the verdict of each target, and below it one line a metric; a failure comes last."""
    names = [plain(metric.name) for result in results.values() for metric in result.metrics]
    width = max(*map(len, names), _LEAST_WIDTH) if names else _LEAST_WIDTH
    lines = []
    for target, result in results.items():
        lines.append(f"{plain(target)}: {result.verdict.upper()} after {len(result.pairs)} pairs")
        lines += [
            f"  {plain(metric.name):<{width}} {metric.verdict:<13} {plain(metric.evidence)}"
            for metric in result.metrics
        ]
        lines += [f"  note: {plain(note)}" for note in result.notes]
    if failure is not None:
        lines.append(f"ERROR: {plain(failure.message)}")
    return "\n".join(lines)
