"""The chart of accuracy against latency, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from edgeprune.records.summary import ALTERNATIVES, Row
from edgeprune.report.cells import plain, split_metric
from edgeprune.report.facts import Report
from edgeprune.report.svg import INK, MUTED, PAPER, chart, colour_of, figure, log_axis, to_svg

MARKERS = "osD^v"
# A row that lost more than this is drawn at the lower edge with its value, so that the others stay apart.
FAR_BELOW = 0.15


class Point(NamedTuple):
    """A measured row: its p50 in milliseconds and its score."""

    ms: float
    rated: float
    row: Row


@chart
def accuracy_against_latency(report: Report) -> str | None:
    """Draw the score over p50 latency of the measured rows, as SVG; None when there is none."""
    points = [
        Point(row.p50_ms, row.score, row)
        for row in report.summary.rows()
        if row.p50_ms is not None and row.score is not None
    ]
    if not points:
        return None
    targets = list(dict.fromkeys(point.row.target for point in points))
    floor = max(point.rated for point in points) - FAR_BELOW
    with figure(3.7) as (drawn, axes):
        front = pareto_front([point for point in points if point.rated >= floor])
        corners = [point.ms for point in front], [point.rated for point in front]
        axes.step(*corners, where="post", color=MUTED, linewidth=1, linestyle=(0, (4, 2)))
        for ms, rated, row in points:
            chosen = report.tone(row) == "chosen"
            place, shape = (ms, max(rated, floor)), targets.index(row.target)
            draw_point(axes, place, row, shape, hollow=bool(row.refused), strong=chosen)
        name_axes(axes, [point.ms for point in points], report.summary.metric, report.summary.split)
        _label_points(drawn, axes, report, points, floor)
        return to_svg(
            drawn, "accuracy", f"Scatter of {report.summary.metric} over p50 latency of every measured row"
        )


def draw_point(
    axes: Any, place: tuple[float, float], row: Row, shape: int, *, hollow: bool, strong: bool
) -> None:
    """Draw a row at its latency and accuracy.

    Args:
        shape: number of its marker among `MARKERS`, which repeat.
        hollow: of a row that does not count, such as a refused one.
        strong: of the row that is chosen.
    """
    axes.scatter(
        *place,
        s=70 if strong else 36,
        marker=MARKERS[shape % len(MARKERS)],
        facecolor=PAPER if hollow else colour_of(row),
        edgecolor=INK if strong else colour_of(row),
        linewidth=1.6 if strong else 1.2,
        zorder=3,
    )


def name_axes(axes: Any, latencies: Sequence[float], metric: str, split: str) -> None:
    """Make a chart one of a metric over p50 latency, ms."""
    log_axis(axes, "x", latencies)
    axes.margins(x=0.16, y=0.12)
    axes.set_xlabel("p50 latency, ms (log scale; left is faster)")
    axes.set_ylabel(f"{plain(metric)} on {plain(split)}")
    axes.tick_params(axis="y", labelcolor=MUTED)
    axes.grid(True)


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in both latency and accuracy, the fastest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.ms, -point.rated)):
        if not front or point.rated > front[-1].rated:
            front.append(point)
    return front


def _label_points(drawn: Any, axes: Any, report: Report, points: Sequence[Point], floor: float) -> None:
    """Write each row's number and precision beside its point."""
    marks = []
    for ms, rated, row in points:
        far = f" {split_metric(row.metric)[0]} {rated:.3f} ↓" if rated < floor else ""
        kind = row.name if row.variant in ALTERNATIVES else row.precision
        chosen = report.tone(row) == "chosen"
        text = f"{report.number[row.label]} {plain(kind)}{far}"
        marks.append(Mark(ms, max(rated, floor), text, chosen, bool(row.refused)))
    corners = pareto_front(
        [Point(mark.x, mark.y, point.row) for mark, point in zip(marks, points, strict=True)]
    )
    label_marks(drawn, axes, marks, [corner[:2] for corner in corners])


class Mark(NamedTuple):
    """A point of a chart, in its data, with the text beside it."""

    x: float
    y: float
    text: str
    bold: bool = False
    muted: bool = False


def label_marks(
    drawn: Any, axes: Any, marks: Sequence[Mark], corners: Sequence[tuple[float, float]] = ()
) -> None:
    """Write the text of each mark where it covers the least of all else.

    Args:
        corners: of a drawn line of steps, which is kept free as well.
    """
    drawn.draw_without_rendering()  # the layout is final only now
    line_of = [axes.transData.transform(corner) for corner in corners]
    line = [(x, y - 2, right, y + 2) for (x, y), (right, _) in pairwise(line_of)]
    line += [(x - 2, y, x + 2, top) for (_, y), (x, top) in pairwise(line_of)]
    pixels = [axes.transData.transform(mark[:2]) for mark in marks]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in pixels] + line
    frame = axes.get_window_extent().extents
    scale = drawn.dpi / 72
    for mark, (x, y) in zip(marks, pixels, strict=True):
        width, height = 5.2 * scale * len(mark.text), 9 * scale
        places = [
            (x + 8, y - height / 2), (x - 8 - width, y - height / 2), (x - width / 2, y + 8),
            (x - width / 2, y - 8 - height), (x + 6, y + 5), (x + 6, y - 5 - height),
            (x - 6 - width, y + 5), (x - 6 - width, y - 5 - height),
            (x + 8, y + 14), (x + 8, y - 14 - height),
            (x - 8 - width, y + 14), (x - 8 - width, y - 14 - height),
        ]  # fmt: skip
        boxes = [(left, bottom, left + width, bottom + height) for left, bottom in places]
        best = min(boxes, key=lambda box: sum(_overlap(box, other) for other in taken) + _outside(box, frame))
        taken.append(best)
        axes.annotate(
            mark.text,
            mark[:2],
            ((best[0] - x) / scale, (best[1] + height / 4 - y) / scale),
            textcoords="offset points",
            fontsize=8.5,
            weight="bold" if mark.bold else "normal",
            color=MUTED if mark.muted else INK,
        )


def _overlap(one: tuple[float, ...], two: tuple[float, ...]) -> float:
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    return max(width, 0) * max(height, 0)


def _outside(box: tuple[float, ...], frame: Any) -> float:
    area = (box[2] - box[0]) * (box[3] - box[1])
    return 10 * (area - _overlap(box, tuple(frame)))
