"""How a network came down to a latency, in the report: the passes, and the cuts with what the target said."""

from __future__ import annotations

from collections.abc import Sequence

from edgeprune.records.pruning import Iteration, PassReport
from edgeprune.report.cells import Cell, Head, Table, number, table, word

PREDICTED_WITHIN = 0.10
"""A table whose predictions are further off on average is said to be."""


def iterations_table(iterations: Sequence[Iteration]) -> Table:
    """Show every cut: aim, prediction, measurement, accuracy after recovery, and why it was refused."""
    heads = [
        Head("cut"),
        Head("aim", "ms"),
        Head("predicted", "ms"),
        Head("measured", "ms"),
        Head("change", "%"),
        Head(iterations[0].metric, "val"),
        Head("refused", numeric=False),
    ]
    rows = [
        [
            Cell(str(index)),
            number(cut.goal_ms, 2),
            number(cut.predicted_ms, 2),
            number(cut.measured_ms, 2),
            number(100 * cut.change, 1),
            number(cut.score, 4, "not recovered in between"),
            word(cut.refused or "kept"),
        ]
        for index, cut in enumerate(iterations, 1)
    ]
    return table(heads, rows)


def prediction_note(iterations: Sequence[Iteration]) -> str:
    """Say how far the table's predicted changes were from the measured ones."""
    errors = [
        abs(cut.predicted_ms / cut.predicted_before_ms / (1 + cut.change) - 1)
        for cut in iterations
        if not cut.refused
    ]
    if not errors:
        return "No cut was kept, so nothing is said of the latency table's predictions."
    mean = sum(errors) / len(errors)
    verdict = "within" if mean <= PREDICTED_WITHIN else "not within"
    return (
        f"The latency table's predicted changes were {mean:.1%} off the measured ones on average over "
        f"{len(errors)} cuts, {verdict} {PREDICTED_WITHIN:.0%}."
    )


def passes_table(passes: Sequence[PassReport]) -> Table:
    """Show every pass: what changed, what was left and why, latency and accuracy around it."""
    heads = [
        Head("pass", numeric=False),
        Head("changed", numeric=False),
        Head("left as it was", numeric=False),
        Head("before", "ms"),
        Head("after", "ms"),
        Head("before", passes[0].metric),
        Head("after", passes[0].metric),
    ]
    rows = [
        [
            word(one.name),
            word("; ".join(one.applied) or "nothing"),
            word("; ".join(one.refused) or "nothing"),
            number(one.ms_before, 2),
            number(one.ms_after, 2),
            number(one.score_before, 4),
            number(one.score_after, 4),
        ]
        for one in passes
    ]
    return table(heads, rows)
