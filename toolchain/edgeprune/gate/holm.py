"""Several targets of one check share one error rate."""

from __future__ import annotations

from collections.abc import Mapping

from edgeprune.gate.decision import holm
from edgeprune.gate.result import GateResult, overall


def share_error_rate(results: Mapping[str, GateResult]) -> dict[str, GateResult]:
    """Judge several targets of one check together: they share the error rate of FAIL, by Holm's rule.

    Each has run at its share of it (`Rules.targets`), which decides when to stop. What was left inconclusive
    fails after all where the rule rejects it beside the targets that failed. Passes stand: the check passes
    only when every target does, which needs no correction.
    """
    names = {metric.name for result in results.values() for metric in result.metrics}
    failing: set[tuple[str, str]] = set()
    for name in names:
        p_values = {target: _p_value_of(result, name) for target, result in results.items()}
        failing |= {(target, name) for target in holm(p_values)}
    return {target: _failed_after_all(target, result, failing) for target, result in results.items()}


def _p_value_of(result: GateResult, name: str) -> float:
    found = [metric.p_value for metric in result.metrics if metric.name == name]
    return 1.0 if not found or found[0] is None else found[0]


def _failed_after_all(target: str, result: GateResult, failing: set[tuple[str, str]]) -> GateResult:
    metrics = tuple(
        metric.model_copy(update={"verdict": "fail", "evidence": f"{metric.evidence}, by Holm's rule"})
        if metric.verdict == "inconclusive" and (target, metric.name) in failing
        else metric
        for metric in result.metrics
    )
    return result.model_copy(update={"metrics": metrics, "verdict": overall(metrics)})
