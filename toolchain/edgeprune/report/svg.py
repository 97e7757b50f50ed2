"""Matplotlib figures as clean inline SVG: text stays text, colours follow the page, ids are unique."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar
from xml.etree import ElementTree

from edgeprune.core.extras import how_to_get, is_there
from edgeprune.records.summary import ALTERNATIVES, Row
from edgeprune.report.cells import plain
from edgeprune.report.facts import Report

# Blue and orange are told apart under every common colour blindness. In the SVG each is replaced by the
# page's variable of that name, so that a dark page has light ink.
COLOURS = {
    "ink": "#1b1f24",
    "muted": "#5d6873",
    "rule": "#d5dae0",
    "paper": "#fdfefe",
    "blue": "#0b6bb8",
    "orange": "#c8590a",
}
INK, MUTED, RULE, PAPER, BLUE, ORANGE = COLOURS.values()
WIDTH = 4.4  # inches: narrow enough that 9 pt text is still readable on a phone 390 px wide
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class called "$x" is a name, not a formula
    "axes.formatter.use_mathtext": False,
    "font.size": 9,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.color": RULE,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}


_Args = ParamSpec("_Args")
_Drawn = TypeVar("_Drawn", str, str | None)


def chart(draw: Callable[_Args, _Drawn]) -> Callable[_Args, _Drawn | str]:
    """Mark what draws a chart: without matplotlib, a sentence in its place says how to get it."""

    @functools.wraps(draw)
    def drawn(*args: _Args.args, **kwargs: _Args.kwargs) -> _Drawn | str:
        if missing := no_charts():
            return f"<p><em>{missing}</em></p>"
        return draw(*args, **kwargs)

    return drawn


def no_charts() -> str | None:
    """Return why pages have no charts on this install and what to do, None where they have."""
    return (
        None if is_there("charts") else f"charts need matplotlib, not installed here: {how_to_get('charts')}"
    )


@contextmanager
def figure(height: float) -> Iterator[tuple[Any, Any]]:
    """Give a figure of the report's width and `height` in inches, with one axes, in the house style."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        drawn = Figure(figsize=(WIDTH, height), layout="constrained")
        yield drawn, drawn.subplots()


def colour_of(row: Row) -> str:
    """Return the colour of a row: blue is pruned, orange is original, grey is an alternative to pruning."""
    if row.variant in ALTERNATIVES:
        return MUTED
    return BLUE if row.variant == "pruned" else ORANGE


def row_name(report: Report, row: Row) -> str:
    """Return what a row goes by in charts: its number in the main table, variant and precision."""
    return f"{report.number[row.label]} {plain(row.name)} {plain(row.precision)}"


def log_axis(axes: Any, which: str, values: Sequence[float]) -> None:
    """Make an axis (``x`` or ``y``) logarithmic, with plain numbers at round places."""
    from matplotlib.ticker import LogLocator, NullFormatter

    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    wide = max(values) / min(values) > 8
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if wide else (1, 1.5, 2, 3, 4, 6, 8)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def beside(axes: Any, x: float, y: float, text: str, colour: str) -> None:
    """Write a text just right of a place given in data coordinates."""
    axes.annotate(text, (x, y), (3, 0), textcoords="offset points", va="center", fontsize=8, color=colour)


def to_svg(drawn: Any, name: str, label: str) -> str:
    """Return a figure as an ``<svg>`` element for an HTML page.

    Args:
        drawn: the matplotlib figure, inside its `figure` context.
        name: unique among the charts of a page; every id starts with it.
        label: what the chart shows, for readers that do not see it.
    """
    import matplotlib as mpl

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        drawn.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314 - written by matplotlib a line ago
    for parent in root.iter():
        for child in [child for child in parent if child.tag.endswith(("}metadata", "}style"))]:
            parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.partition("}")[2]  # inline SVG has no namespaces
        element.attrib = {
            key.rpartition("}")[2]: _own(key.rpartition("}")[2], value, name)
            for key, value in element.attrib.items()
        }
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _own(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    value = value.replace("url(#", f"url(#{name}-")
    if key == "style":
        value = re.sub(r"font-family: [^;]*;?", "", value)
        for word, colour in COLOURS.items():
            value = value.replace(colour, f"var(--{word})")
    return value
