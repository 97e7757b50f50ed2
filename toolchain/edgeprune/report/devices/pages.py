"""The page of many devices, as HTML that runs no script, and as Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeprune.history import Metric
from edgeprune.history.entry import Point
from edgeprune.report.devices import ship, tables
from edgeprune.report.devices.chart import accuracy_over_devices, drawn_metrics
from edgeprune.report.devices.entries import DeviceLine
from edgeprune.report.devices.tables import Part, parts_of
from edgeprune.report.facts import save_page
from edgeprune.report.history import Curve, curves_of, draw_curve
from edgeprune.report.markdown import escape, folded, pipes
from edgeprune.report.page import caption, markup, page, paragraph

HTML, MARKDOWN = "devices.html", "devices.md"
_TITLE = "Devices beside each other"
_PLOTTED: tuple[Metric, ...] = ("p50", "accuracy")
_NO_HISTORY = "The history that was named holds no result of these rows on these devices."
_NOTHING = "Nothing was chosen on any of these devices."
_HOW = (
    "A dash is a number that was not measured; it is never an estimate. A speed-up is over the original of "
    "the same build. A run that was unfit and a row that its build refused are marked beside their number."
)
_CHART = (
    "The number is that of the line in the tables. Blue is pruned, orange is original, grey stands instead "
    "of pruning; an outline marks the choice on its target; hollow marks are refused or of an unfit run."
)


def write_pages(lines: Sequence[DeviceLine], points: Sequence[Point] | None, out: Path) -> dict[str, str]:
    """Write both pages into a folder and return their paths by kind.

    Args:
        points: of the history that was named, None where none was.

    Raises:
        OutputError: the folder cannot be written.
    """
    curves = None if points is None else _curves(lines, points)
    return {
        "html": str(save_page(out / HTML, to_html(lines, curves))),
        "markdown": str(save_page(out / MARKDOWN, to_markdown(lines, curves))),
    }


def _curves(lines: Sequence[DeviceLine], points: Sequence[Point]) -> list[Curve]:
    """Return the histories of the page's devices: of each machine, the series of its own rows."""
    rows = {(line.machine, one.name) for line in lines for one in line.figures}
    own = [point for point in points if (point.machine, point.name) in rows]
    return [
        curve
        for metric in _PLOTTED
        if any(point.value(metric) is not None for point in own)
        for curve in curves_of(own, metric)
    ]


def _told_apart(parts: Sequence[Part]) -> str:
    if len(parts) < 2:
        return ""
    return (
        f"These are {len(parts)} different networks, data sets or forms of input. Each has tables of its "
        "own: their numbers do not compare."
    )


def to_html(lines: Sequence[DeviceLine], curves: Sequence[Curve] | None) -> str:
    """Return the page as text; every name out of a model, a file or a device is escaped."""
    parts = parts_of(lines)
    why = "".join(f"<li>{_words(reason)}</li>" for reason in ship.reasons(lines))
    ships = ship.ship_table(lines)
    body = [
        "<h2>What to ship where</h2>",
        markup(ships) if ships.lines else paragraph(_NOTHING),
        f"<ul>{why}</ul>",
        paragraph(_HOW),
    ]
    if apart := _told_apart(parts):
        body.append(paragraph(apart))
    for index, part in enumerate(parts):
        body += [f"<h2>{_words(part.subject.title)}</h2>", *_html_part(part, f"part-{index}")]
    notes = tables.notes_table(lines)
    if notes.lines:
        body += ["<h2>What speaks against rows</h2>", markup(notes)]
    if curves is not None:
        body += ["<h2>Histories</h2>", *_html_history(curves)]
    body += ["<h2>What this page was made from</h2>", markup(tables.sources_table(lines))]
    return page(_TITLE, body)


def _html_part(part: Part, name: str) -> Iterator[str]:
    for index, metric in enumerate(drawn_metrics(part)):
        svg = accuracy_over_devices(part, metric, f"{name}-{index}")
        yield caption(f"{metric[0]} against latency", svg, paragraph(_CHART))
    for title, data in tables.number_tables(part):
        yield f"<h3>{_words(title)}</h3>"
        yield markup(data)
    if untold := tables.untold(part):
        yield paragraph(untold)


def _html_history(curves: Sequence[Curve]) -> Iterator[str]:
    if not curves:
        yield paragraph(_NO_HISTORY)
    for index, curve in enumerate(curves):
        notes = "".join(map(paragraph, curve.sentences()))
        yield caption(curve.title(), draw_curve(curve, f"history-{index}"), notes)


def _words(text: str) -> str:
    """Return a text as markup within an element."""
    return paragraph(text).removeprefix("<p>").removesuffix("</p>")


def to_markdown(lines: Sequence[DeviceLine], curves: Sequence[Curve] | None) -> str:
    """Return the page as GitHub-flavoured Markdown: what ships first, the rest below."""
    parts = parts_of(lines)
    ships = ship.ship_table(lines)
    said = [f"## {_TITLE}", "### What to ship where", pipes(ships) if ships.lines else _NOTHING]
    said += ["\n".join(f"- {escape(reason)}" for reason in ship.reasons(lines)), escape(_HOW)]
    if apart := _told_apart(parts):
        said.append(escape(apart))
    for part in parts:
        said.append(f"### {escape(part.subject.title)}")
        for title, data in tables.number_tables(part):
            said += [f"**{escape(title)}**", pipes(data)]
        if untold := tables.untold(part):
            said.append(escape(untold))
    notes = tables.notes_table(lines)
    if notes.lines:
        said += folded("What speaks against rows", [pipes(notes)])
    if curves is not None:
        sentences = [
            f"- {escape(f'{curve.title()}: {one}')}" for curve in curves for one in curve.sentences()
        ]
        none = "No change of level." if curves else _NO_HISTORY
        said += folded("Histories", ["\n".join(sentences) or escape(none)])
    said += folded("What this page was made from", [pipes(tables.sources_table(lines))])
    return "\n\n".join(said) + "\n"


def in_words(lines: Sequence[DeviceLine]) -> list[str]:
    """Return what ships where, a line a device, and where nothing was chosen, for a terminal."""
    said = []
    for line in ship.ship_table(lines).lines:
        _, device, row, p50, *_ = (cell.text for cell in line.cells)
        said.append(f"{device}: {row}, p50 in ms {p50}")
    return [*said, *(reason for reason in ship.reasons(lines) if reason.startswith(ship.NOTHING))]
