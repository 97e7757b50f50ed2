"""A page with the staircases of a latency table: what each layer costs over its width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from edgeprune.images.size import size_words
from edgeprune.records.latency_table import Grid, LatencyTable, Scan
from edgeprune.report.cells import Cell, Head, number, word
from edgeprune.report.cells import table as table_of
from edgeprune.report.console import draw, say
from edgeprune.report.facts import save_page
from edgeprune.report.page import caption, page, paragraph
from edgeprune.report.svg import BLUE, MUTED, ORANGE, beside, figure, to_svg

_SHOWN = 12
_AXES = {"cin": "input channels", "cout": "output channels"}


def print_table(table: LatencyTable, guess: int | None, console: Console) -> None:
    """Print the most expensive kinds of layer, the channel step and what is to be known of the table.

    Args:
        guess: the step that the target's profile gives; None where it gives none for this precision.
    """
    found: dict[tuple[str, int, int], list[float]] = {}
    for layer in table.layers:
        ms = table.layer_ms(layer.shape, layer.cin, layer.cout)
        found.setdefault((str(layer.shape), layer.cin, layer.cout), []).append(ms)
    ranked = sorted(found.items(), key=lambda row: -sum(row[1]))
    heads = [Head("layer", numeric=False), Head("in"), Head("out"), Head("times"), Head("ms\neach")]
    rows = [
        [
            word(shape),
            Cell(str(cin)),
            Cell(str(cout)),
            Cell(str(len(times))),
            number(times[0], 3),
            number(100 * sum(times) / table.whole_ms, 1, suffix="%"),
        ]
        for (shape, cin, cout), times in ranked[:_SHOWN]
    ]
    draw(table_of([*heads, Head("of the\nwhole")], rows), console)
    if len(ranked) > _SHOWN:
        say(console, f"and {len(ranked) - _SHOWN} more kinds of layer")
    says = "" if guess in (None, table.step) else f" (the target's profile says {guess})"
    say(console, f"\nchannel step: {table.step}{says}")
    say(console, f"whole network: {table.whole_ms:.2f} ms, of which {table.rest_ms():.2f} ms in no layer")
    for sentence in table.caveats():
        say(console, f"note: {sentence}")


def write_page(table: LatencyTable, path: Path) -> None:
    """Write a self-contained HTML page: the scans that the step comes from, then the grid of every shape."""
    scans = [_scan_chart(scan, table.step, f"scan{index}") for index, scan in enumerate(table.scans)]
    grids = [_grid_chart(grid, f"grid{index}") for index, grid in enumerate(table.grids)]
    key = table.key
    facts = (
        f"{key.runtime} {key.runtime_version}, {key.precision}, {key.threads} "
        f"thread{'' if key.threads == 1 else 's'}, {key.cpu or key.machine}; "
        f"{size_words(table.imgsz)}; step {table.step} channels; "
        f"the whole network takes {table.whole_ms:.2f} ms"
    )
    parts = [
        paragraph(facts),
        *map(paragraph, table.caveats()),
        "<h2>Staircases</h2>",
        "<p>Bars span the quartiles of the rounds; large blue dots are multiples of the step.</p>",
        *_figures(scans),
        "<h2>Layers</h2>",
        *_figures(grids),
    ]
    save_page(path, page("Latency table", parts))


def _figures(charts: list[tuple[str, str]]) -> list[str]:
    return [caption(title, svg) for title, svg in charts]


def _scan_chart(scan: Scan, step: int, name: str) -> tuple[str, str]:
    other = "cout" if scan.axis == "cin" else "cin"
    title = f"{scan.shape}, {scan.other} {_AXES[other]}"
    with figure(2.4) as (drawn, axes):
        axes.plot(scan.widths, scan.ms, color=MUTED, linewidth=1)
        axes.errorbar(
            scan.widths, scan.ms, [iqr / 2 for iqr in scan.iqr_ms], fmt="none", ecolor=MUTED, elinewidth=0.8
        )
        for width, ms in zip(scan.widths, scan.ms, strict=True):
            on = width % step == 0
            axes.plot(width, ms, "o", color=BLUE if on else ORANGE, markersize=4.5 if on else 3, zorder=3)
        axes.set_xticks([width for width in scan.widths if width % 16 == 0])
        _label(axes, _AXES[scan.axis])
        return title, to_svg(drawn, name, f"Latency over {_AXES[scan.axis]} of {scan.shape}")


def _grid_chart(grid: Grid, name: str) -> tuple[str, str]:
    with figure(2.4) as (drawn, axes):
        for cin, row in zip(grid.cin, grid.ms, strict=True):
            axes.plot(grid.cout, row, ".-", color=BLUE, linewidth=1)
            if grid.shape.groups == "dense":
                beside(axes, grid.cout[-1], row[-1], f"{cin} in", MUTED)
        axes.margins(x=0.16)
        _label(axes, _AXES["cout"])
        return str(grid.shape), to_svg(drawn, name, f"Latency over output channels of {grid.shape}")


def _label(axes: Any, what: str) -> None:
    axes.set_ylim(bottom=0)
    axes.set_xlabel(what)
    axes.set_ylabel("latency, ms")
    axes.grid(True)
