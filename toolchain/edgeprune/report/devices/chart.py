"""The chart of a page of many devices: accuracy against latency, a marker shape a line of the tables."""

from __future__ import annotations

from edgeprune.report.cells import plain
from edgeprune.report.devices.tables import Part
from edgeprune.report.scatter import Mark, draw_point, label_marks, name_axes
from edgeprune.report.svg import chart, figure, to_svg


def drawn_metrics(part: Part) -> list[tuple[str, str]]:
    """Return the metrics, with their splits, that some fit row of a part has beside a latency."""
    return list(
        dict.fromkeys(
            (one.row.metric, line.split)
            for line in part.lines
            for one in line.figures
            if one.row is not None and one.row.score is not None and one.p50_ms is not None
        )
    )


@chart
def accuracy_over_devices(part: Part, metric: tuple[str, str], name: str) -> str:
    """Draw a metric over p50 latency of every row that has both, as SVG.

    Args:
        metric: one of `drawn_metrics`: different metrics have charts of their own.
        name: unique among the charts of a page.
    """
    points = [
        (line, one, one.row, one.p50_ms, one.row.score)
        for line in part.lines
        for one in line.figures
        if one.row is not None and one.row.score is not None and one.p50_ms is not None
        if (one.row.metric, line.split) == metric
    ]
    with figure(3.7) as (drawn, axes):
        marks = []
        for line, one, row, ms, score in points:
            ships = one.variant == line.shipped
            hollow = bool(one.refused or one.unfit)
            draw_point(axes, (ms, score), row, line.number - 1, hollow=hollow, strong=ships)
            marks.append(Mark(ms, score, f"{line.number} {plain(row.precision)}", ships, hollow))
        name_axes(axes, [mark.x for mark in marks], *metric)
        label_marks(drawn, axes, marks)
        return to_svg(drawn, name, f"{plain(metric[0])} over p50 latency of every row of every device")
