"""The history of a metric: a chart a series with its levels and change points, and the table of results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console

from edgeprune.core.errors import ConfigError, DataError, RuntimeMissingError
from edgeprune.history import Metric
from edgeprune.history.changes import Change, change_points
from edgeprune.history.entry import UNITS, Point, Series
from edgeprune.report.cells import Cell, Head, Table, number, plain, table, word
from edgeprune.report.console import draw, say
from edgeprune.report.facts import save_page
from edgeprune.report.page import caption, page, paragraph
from edgeprune.report.svg import BLUE, COLOURS, INK, MUTED, ORANGE, PAPER, chart, figure, no_charts, to_svg

_WORDS: dict[Metric, str] = {
    "p50": "p50 latency",
    "fps": "FPS",
    "memory": "peak memory",
    "accuracy": "accuracy",
}
_MORE_IS_WORSE: tuple[Metric, ...] = ("p50", "memory")
_MOST_TICKS = 8


@dataclass(frozen=True)
class Curve:
    """One series of a metric.

    Attributes:
        points: those that have the metric, by commit; the unfit among them have no say in `changes`.
    """

    series: Series
    metric: Metric
    points: tuple[Point, ...]

    @property
    def fit(self) -> tuple[Point, ...]:
        """The points whose run was valid."""
        return tuple(point for point in self.points if point.valid)

    def value(self, point: Point) -> float:
        """Return the metric of a point of this curve."""
        value = point.value(self.metric)
        assert value is not None
        return value

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """The changes of level; an index counts in `fit`."""
        return change_points([self.value(point) for point in self.fit])

    def title(self) -> str:
        """Return what the series is of."""
        return f"{_WORDS[self.metric]} of {plain(str(self.series))}"

    def sentences(self) -> Iterator[str]:
        """Yield a sentence a change point: which commits it lies between, and how far the level moved."""
        fit, unit = self.fit, UNITS[self.metric]
        for change in self.changes:
            before, after = (f"{value:.4g} {unit}".strip() for value in (change.before, change.after))
            yield (
                f"{_moved(change)} ({before} to {after}) between {_commit(fit[change.index - 1])} "
                f"and {_commit(fit[change.index])} (p = {change.p_value:.4f})"
            )

    def described(self) -> dict[str, Any]:
        """Return the series and its changes, each after one commit and up to another, as JSON-like data."""
        fit = self.fit
        return {
            "series": self.series._asdict(),
            "metric": self.metric,
            "unit": UNITS[self.metric],
            "results": len(self.points),
            "unfit": len(self.points) - len(fit),
            "changes": [
                {
                    "after_commit": fit[change.index - 1].commit_sha,
                    "up_to_commit": fit[change.index].commit_sha,
                    "before": change.before,
                    "after": change.after,
                    "p_value": change.p_value,
                }
                for change in self.changes
            ],
        }


def curves_of(points: Sequence[Point], metric: Metric) -> list[Curve]:
    """Return the series that have a metric, each in the order of `points`.

    Raises:
        DataError: no point has it.
    """
    found: dict[Series, list[Point]] = {}
    for point in points:
        if point.value(metric) is not None:
            found.setdefault(point.series, []).append(point)
    if not found:
        raise DataError(f"history: of {len(points)} results none has {metric}")
    return [Curve(series, metric, tuple(of_it)) for series, of_it in found.items()]


def write_plot(curves: Sequence[Curve], path: Path) -> Path:
    """Write a self-contained page, or one SVG file, by the suffix of the path.

    Raises:
        ConfigError: another suffix, or several series for one SVG file.
        RuntimeMissingError: matplotlib, which an SVG file needs, is not installed.
        OutputError: it cannot be written.
    """
    if path.suffix == ".svg":
        if len(curves) > 1:
            found = "; ".join(plain(str(curve.series)) for curve in curves)
            raise ConfigError(
                f"{path}: one chart holds one series, not {len(curves)}: write .html, or choose by --series "
                f"from {found}"
            )
        if missing := no_charts():
            raise RuntimeMissingError(f"{path}: {missing}")
        return save_page(path, _alone(draw_curve(curves[0], "history")))
    if path.suffix != ".html":
        raise ConfigError(f"{path}: a plot is an .html page or an .svg file")
    parts = []
    for index, curve in enumerate(curves):
        parts.append(caption(curve.title(), draw_curve(curve, f"history-{index}"), _notes(curve)))
    return save_page(path, page(f"History of {_WORDS[curves[0].metric]}", parts))


def _notes(curve: Curve) -> str:
    said = [*curve.sentences()] or ["No change of level."]
    unfit = len(curve.points) - len(curve.fit)
    if unfit:
        said.append(f"{unfit} of {len(curve.points)} runs are unfit (hollow) and count for nothing.")
    return "".join(map(paragraph, said))


@chart
def draw_curve(curve: Curve, name: str) -> str:
    """Draw a series over its commits as SVG: every run, the level between change points, the changes."""
    places = {point.id: place for place, point in enumerate(curve.points)}
    fit, changes = curve.fit, curve.changes
    with figure(2.8) as (drawn, axes):
        for point in curve.points:
            place, value = places[point.id], curve.value(point)
            edge = BLUE if point.valid else MUTED
            axes.scatter(
                place, value, s=22, facecolor=edge if point.valid else PAPER, edgecolor=edge, zorder=3
            )
        cuts = [0, *(change.index for change in changes), len(fit)]
        levels = [changes[0].before, *(change.after for change in changes)] if changes else []
        for (start, stop), level in zip(pairwise(cuts), levels, strict=False):
            axes.hlines(level, places[fit[start].id], places[fit[stop - 1].id], color=INK, linewidth=1.4)
        for change in changes:
            worse = (change.after > change.before) == (curve.metric in _MORE_IS_WORSE)
            colour = ORANGE if worse else BLUE
            middle = (places[fit[change.index - 1].id] + places[fit[change.index].id]) / 2
            axes.axvline(middle, color=colour, linewidth=1, linestyle=(0, (4, 2)))
            axes.annotate(
                _moved(change),
                (middle, 1),
                (3, -2),
                xycoords=axes.get_xaxis_transform(),
                textcoords="offset points",
                va="top",
                fontsize=8.5,
                color=colour,
            )
        step = -(-len(curve.points) // _MOST_TICKS)
        shown = curve.points[::step]
        axes.set_xticks(
            [places[point.id] for point in shown], [_tick(point) for point in shown], rotation=45, ha="right"
        )
        axes.margins(x=0.06, y=0.2)
        axes.set_xlabel("commit, in order of its time")
        unit = UNITS[curve.metric] or curve.points[-1].accuracy_metric or ""
        axes.set_ylabel(", ".join(filter(None, (_WORDS[curve.metric], unit))))
        axes.tick_params(axis="y", labelcolor=MUTED)
        axes.grid(True, axis="y")
        return to_svg(drawn, name, curve.title())


def _moved(change: Change) -> str:
    """Say how far a level moved: an accuracy that was 0 has no share to move by."""
    return f"{change.share:+.1%}" if change.before else "up from 0"


def _tick(point: Point) -> str:
    return _short(point.commit_sha, 7) if point.commit_sha else point.started_utc[:10]


def _commit(point: Point) -> str:
    return _short(point.commit_sha, 10) if point.commit_sha else point.started_utc


def _short(sha: str, digits: int) -> str:
    shown = plain(sha)
    bare = shown.removesuffix("-dirty")
    return bare[:digits] + shown[len(bare) :]


def _alone(svg: str) -> str:
    """Return inline SVG as a file of its own, with the colours that a page would give."""
    colours = "".join(f"--{name}:{value};" for name, value in COLOURS.items())
    head, _, rest = svg.partition(">")
    return (
        f'{head} xmlns="http://www.w3.org/2000/svg">'
        f"<style>svg{{{colours}background:var(--paper);font-family:system-ui,sans-serif}}</style>{rest}\n"
    )


def print_points(points: Sequence[Point], console: Console) -> None:
    """Print a table for each series, by commit, under all that tells the series apart."""
    found: dict[Series, list[Point]] = {}
    for point in points:
        found.setdefault(point.series, []).append(point)
    for index, (series, of_it) in enumerate(found.items()):
        if index:
            console.print()
        say(console, plain(str(series)), "bold")
        draw(_points_table(of_it), console)


def _points_table(points: Sequence[Point]) -> Table:
    heads = [Head("commit", numeric=False), Head("run", numeric=False)]
    heads += [Head("p50 ms"), Head("FPS"), Head("peak MB"), Head("accuracy"), Head("", numeric=False)]
    return table(
        heads,
        [
            [
                word(_tick(point) if point.commit_sha else None),
                word(point.started_utc[:16].replace("T", " ")),
                number(point.p50_ms, 2),
                number(point.fps, 1),
                number(point.peak_mb, 0),
                number(point.accuracy, 4),
                Cell("" if point.valid else "unfit"),
            ]
            for point in points
        ],
    )
