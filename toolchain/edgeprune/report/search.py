"""The page and the table of a search: accuracy against latency, with the Pareto set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.images.size import size_words
from edgeprune.report.cells import Cell, Head, Table, number, table, word
from edgeprune.report.facts import save_page
from edgeprune.report.page import caption, markup, page, paragraph
from edgeprune.report.svg import BLUE, INK, MUTED, figure, log_axis, to_svg

if TYPE_CHECKING:
    from edgeprune.search.pareto import Found


def write_page(found: Found, path: Path) -> None:
    """Write a self-contained HTML page: the facts, the chart, the table."""
    trials = ", ".join(f"{count} {state}" for state, count in found.trials.items() if count)
    facts = (
        f"In {found.storage}; trials: {trials}; {found.target} in {found.precision}, "
        f"where the unpruned network takes {found.unpruned_ms:.2f} ms"
    )
    title = "Accuracy against latency; the Pareto set is numbered by trial"
    parts = [
        paragraph(facts),
        caption(title, chart(found)),
        markup(front_table(found), "The Pareto set, the fastest first"),
    ]
    save_page(path, page(f"Search: study {found.study}", parts))


def chart(found: Found) -> str:
    """Draw the score over latency of every complete trial as SVG; the Pareto set is numbered."""
    metric = found.front[0].metric
    with figure(3.7) as (drawn, axes):
        front = [(member.ms, member.score) for member in found.front]
        axes.step(*zip(*front, strict=True), where="post", color=MUTED, linewidth=1, linestyle=(0, (4, 2)))
        if found.others:
            axes.scatter(*zip(*found.others, strict=True), s=14, color=MUTED, alpha=0.6)
        axes.scatter(*zip(*front, strict=True), s=36, color=BLUE, zorder=3)
        for member in found.front:
            axes.annotate(
                str(member.trial),
                (member.ms, member.score),
                (5, -10),
                textcoords="offset points",
                fontsize=8.5,
                color=INK,
            )
        log_axis(axes, "x", [ms for ms, _ in (*front, *found.others)])
        axes.margins(x=0.1, y=0.12)
        axes.set_xlabel("latency, ms (log scale; left is faster)")
        axes.set_ylabel(f"{metric} on val")
        axes.grid(True)
        return to_svg(drawn, "search", f"Scatter of {metric} over latency of every complete trial")


def front_table(found: Found) -> Table:
    """Show the Pareto set, the fastest first."""
    heads = [
        Head("trial"),
        Head("latency", "ms"),
        Head("speed-up"),
        Head(found.front[0].metric, "val"),
        Head("channels kept", "%"),
        Head("blocks dropped"),
        Head("activation", numeric=False),
        Head("image", "px"),
        Head("checkpoint", numeric=False),
    ]
    rows = [
        [
            Cell(str(member.trial)),
            number(member.ms, 2),
            number(found.unpruned_ms / member.ms, 2, suffix="×"),
            number(member.score, 4),
            number(100 * member.channels, 0),
            Cell(str(len(member.dropped))),
            word("SiLU" if member.activation == "keep" else member.activation),
            Cell(size_words(member.imgsz).removesuffix(" px")),
            word(member.checkpoint or f"on {member.host}: {member.out}"),
        ]
        for member in found.front
    ]
    return table(heads, rows)
