"""The gate's verdict as GitHub annotations: workflow commands on standard output of a step.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeprune.gate.result import Failure, GateResult
from edgeprune.report.cells import plain
from edgeprune.report.console import for_terminal

_LEVELS = {"fail": "error", "inconclusive": "warning"}


def render_annotations(results: Mapping[str, GateResult], failure: Failure | None = None) -> str:
    """Return one line a metric that did not pass, and one for each target that passed whole."""
    lines = []
    for target, result in results.items():
        for metric in result.metrics:
            if level := _LEVELS.get(metric.verdict):
                lines.append(_command(level, f"{target}: {metric.name} {metric.verdict}", metric.evidence))
        if result.verdict == "pass":
            words = "; ".join(f"{m.name}: {m.evidence}" for m in result.metrics)
            lines.append(_command("notice", f"{target}: pass", words))
        lines += [_command("notice", f"{target}: note", note) for note in result.notes]
    if failure is not None:
        lines.append(_command("error", "edgeprune check: error", failure.message))
    return "\n".join(lines)


def _command(level: str, title: str, message: str) -> str:
    """Return a workflow command; what would end its title, its text or the line is escaped."""
    safe, said = (for_terminal(plain(text)).replace("%", "%25") for text in (title, message))
    return f"::{level} title={safe.replace(':', '%3A').replace(',', '%2C')}::{said}"
