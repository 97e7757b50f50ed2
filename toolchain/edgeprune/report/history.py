"""The history of a metric: a chart a series with its levels and change points, and the table of entries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from edgeprune.errors import ConfigError, DataError
from edgeprune.history import Metric
from edgeprune.history.changes import Change, change_points
from edgeprune.history.entry import UNITS, Entry, Series
from edgeprune.report.cells import number, plain
from edgeprune.report.facts import save_page
from edgeprune.report.page import page
from edgeprune.report.svg import BLUE, COLOURS, INK, MUTED, ORANGE, PAPER, figure, to_svg

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
        entries: those that have the metric, by commit; the unfit among them have no say in `changes`.
    """

    series: Series
    metric: Metric
    entries: tuple[Entry, ...]

    @property
    def fit(self) -> tuple[Entry, ...]:
        """The entries whose run was valid."""
        return tuple(entry for entry in self.entries if entry.valid)

    def value(self, entry: Entry) -> float:
        """Return the metric of an entry of this curve."""
        value = entry.value(self.metric)
        assert value is not None
        return value

    def changes(self) -> tuple[Change, ...]:
        """Return the changes of level; an index counts in `fit`."""
        return change_points([self.value(entry) for entry in self.fit])

    def title(self) -> str:
        """Return what the series is of."""
        series = self.series
        threads = f"{series.threads} thread{'s' if series.threads != 1 else ''}"
        return (
            f"{plain(series.name)}: {_WORDS[self.metric]}, {series.scenario}, "
            f"{series.backend} {series.precision}, {threads}, {plain(series.machine)}"
        )

    def sentences(self) -> Iterator[str]:
        """Yield a sentence a change point: which commits it lies between, and how far the level moved."""
        fit, unit = self.fit, UNITS[self.metric]
        for change in self.changes():
            before, after = (f"{value:.4g} {unit}".strip() for value in (change.before, change.after))
            yield (
                f"{plain(self.series.name)}: {_WORDS[self.metric]} {change.share:+.1%} ({before} to {after}) "
                f"between {_commit(fit[change.index - 1])} and {_commit(fit[change.index])} "
                f"(p = {change.p_value:.4f})"
            )


def curves_of(entries: Sequence[Entry], metric: Metric, name: str = "") -> list[Curve]:
    """Return the series that have a metric, each in the order of `entries`.

    Args:
        name: text that the names of the series have to hold.

    Raises:
        DataError: no entry has it.
    """
    found: dict[Series, list[Entry]] = {}
    for entry in entries:
        if entry.value(metric) is not None and name in entry.name:
            found.setdefault(entry.series, []).append(entry)
    if not found:
        where = f" in a series named {name!r}" if name else ""
        raise DataError(f"history: no result has {metric}{where}")
    return [Curve(series, metric, tuple(points)) for series, points in found.items()]


def write_plot(curves: Sequence[Curve], path: Path) -> Path:
    """Write a self-contained page, or one SVG file, by the suffix of the path.

    Raises:
        ConfigError: another suffix, or several series for one SVG file.
        OutputError: it cannot be written.
    """
    if path.suffix == ".svg":
        if len(curves) > 1:
            names = ", ".join(dict.fromkeys(curve.series.name for curve in curves))
            raise ConfigError(
                f"{path}: one chart holds one series, not {len(curves)} ({names}): write .html or give --name"
            )
        return save_page(path, _alone(chart(curves[0], "history")))
    if path.suffix != ".html":
        raise ConfigError(f"{path}: a plot is an .html page or an .svg file")
    parts = []
    for index, curve in enumerate(curves):
        caption = f"<figcaption>{escape(curve.title())}</figcaption>"
        parts.append(f"<figure>{caption}{chart(curve, f'history-{index}')}{_notes(curve)}</figure>")
    return save_page(path, page(f"History of {_WORDS[curves[0].metric]}", parts))


def _notes(curve: Curve) -> str:
    said = [*curve.sentences()] or ["No change of level."]
    unfit = len(curve.entries) - len(curve.fit)
    if unfit:
        said.append(f"{unfit} of {len(curve.entries)} runs are unfit (hollow) and count for nothing.")
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in said)


def chart(curve: Curve, name: str) -> str:
    """Draw a series over its commits as SVG: every run, the level between change points, the changes."""
    places = {entry.id: place for place, entry in enumerate(curve.entries)}
    fit, changes = curve.fit, curve.changes()
    with figure(2.8) as (drawn, axes):
        for entry in curve.entries:
            place, value = places[entry.id], curve.value(entry)
            edge = BLUE if entry.valid else MUTED
            axes.scatter(
                place, value, s=22, facecolor=edge if entry.valid else PAPER, edgecolor=edge, zorder=3
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
                f"{change.share:+.1%}",
                (middle, 1),
                (3, -2),
                xycoords=axes.get_xaxis_transform(),
                textcoords="offset points",
                va="top",
                fontsize=8.5,
                color=colour,
            )
        step = -(-len(curve.entries) // _MOST_TICKS)
        shown = curve.entries[::step]
        axes.set_xticks(
            [places[entry.id] for entry in shown], [_tick(entry) for entry in shown], rotation=45, ha="right"
        )
        axes.margins(x=0.06, y=0.2)
        axes.set_xlabel("commit, in order of its time")
        unit = UNITS[curve.metric] or curve.entries[-1].accuracy_metric or ""
        axes.set_ylabel(", ".join(filter(None, (_WORDS[curve.metric], unit))))
        axes.tick_params(axis="y", labelcolor=MUTED)
        axes.grid(True, axis="y")
        return to_svg(drawn, name, curve.title())


def _tick(entry: Entry) -> str:
    return _short(entry.commit_sha, 7) if entry.commit_sha else entry.started_utc[:10]


def _commit(entry: Entry) -> str:
    return _short(entry.commit_sha, 10) if entry.commit_sha else entry.started_utc


def _short(sha: str, digits: int) -> str:
    bare = sha.removesuffix("-dirty")
    return bare[:digits] + sha[len(bare) :]


def _alone(svg: str) -> str:
    """Return inline SVG as a file of its own, with the colours that a page would give."""
    colours = "".join(f"--{name}:{value};" for name, value in COLOURS.items())
    head, _, rest = svg.partition(">")
    return (
        f'{head} xmlns="http://www.w3.org/2000/svg">'
        f"<style>svg{{{colours}background:var(--paper);font-family:system-ui,sans-serif}}</style>{rest}\n"
    )


def print_entries(entries: Sequence[Entry], console: Console) -> None:
    """Print a table of all entries, by commit."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in ("commit", "run", "series"):
        table.add_column(head, no_wrap=True)
    for head in ("p50 ms", "FPS", "peak MB", "accuracy"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for entry in entries:
        table.add_row(
            Text(_tick(entry) if entry.commit_sha else "\N{EN DASH}"),
            entry.started_utc[:16].replace("T", " "),
            Text(f"{plain(entry.name)}, {entry.backend} {entry.precision}"),
            *(
                number(value, digits).text
                for value, digits in (
                    (entry.p50_ms, 2),
                    (entry.fps, 1),
                    (entry.peak_mb, 0),
                    (entry.accuracy, 4),
                )
            ),
            "" if entry.valid else "unfit",
        )
    table.width = Measurement.get(console, console.options.update(max_width=200), table).maximum
    console.print(table, crop=False)
