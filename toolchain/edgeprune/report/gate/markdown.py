"""The gate's verdict as Markdown, made to be a comment on a pull request or a job's summary."""

from __future__ import annotations

from collections.abc import Mapping

from edgeprune.gate.result import Failure, GateResult, MetricVerdict
from edgeprune.report.cells import MISSING, number, plain
from edgeprune.report.markdown import escape

_MARKS = {
    "error": "❌ error",
    "pass": "✅ pass",
    "fail": "❌ fail",
    "inconclusive": "⚠️ inconclusive",
    "advisory": "advisory",
}
_WORST_FIRST = ("error", "fail", "inconclusive", "pass")
# Enough to tell a change of 1 % in a number of any of these.
_DIGITS = {"ms": 3, "FPS": 1, "MB": 1}


def render_markdown(results: Mapping[str, GateResult], failure: Failure | None = None) -> str:
    """Return one table a target, the worst verdict in the headline, below it what ended the check early."""
    verdicts = {str(result.verdict) for result in results.values()} | ({"error"} if failure else set())
    worst = next((verdict for verdict in _WORST_FIRST if verdict in verdicts), "inconclusive")
    parts = [f"## edgeprune check: {_MARKS[worst]}"]
    if failure is not None:
        parts.append(escape(failure.message))
    for target, result in results.items():
        pairs = f"{len(result.pairs)} pairs, tau {result.tau:.1%}"
        parts.append(f"**{escape(plain(target))}**: {_MARKS[result.verdict]} ({pairs})")
        parts.append(_table(result))
        parts += [f"> {escape(plain(note))}" for note in result.notes]
    return "\n\n".join(parts)


def _table(result: GateResult) -> str:
    lines = ["| metric | baseline | candidate | verdict | evidence |", "|---|---:|---:|---|---|"]
    for metric in result.metrics:
        cells = (
            escape(metric.name),
            _number(metric.baseline, metric),
            _number(metric.candidate, metric),
            _MARKS[metric.verdict],
            escape(plain(metric.evidence)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _number(value: float | None, metric: MetricVerdict) -> str:
    if value is None:
        return MISSING
    unit = metric.unit if metric.unit in _DIGITS else ""
    return f"{number(value, _DIGITS.get(metric.unit, 4)).text} {unit}".strip()
