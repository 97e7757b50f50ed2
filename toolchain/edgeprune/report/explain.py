"""What `edgeprune explain` shows: tables on a terminal, a page with bars."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from edgeprune.report.cells import Cell, Head, Table, ending, number, plain, table, word
from edgeprune.report.console import draw, hang, say
from edgeprune.report.facts import save_page
from edgeprune.report.page import caption, markup, page, paragraph
from edgeprune.report.svg import BLUE, INK, ORANGE, beside, chart, figure, to_svg

if TYPE_CHECKING:
    from edgeprune.explain.attribution import Split
    from edgeprune.explain.layer_costs import LayerCost
    from edgeprune.explain.run import EngineTimes, Explanation

_NAME_LIMIT = 34


def factors_table(split: Split) -> Table:
    """Show what each change brings."""
    heads = [Head("change", numeric=False), Head("factor", "×"), Head("of the speed-up", "log, %")]
    every = split.method == "mean of all orders" and len(split.factors) > 1
    heads += [Head("lowest … highest", "× over the orders")] if every else []
    rows = []
    for one in split.factors:
        share = None if one.share is None else 100 * one.share
        cells = [word(one.change), number(one.factor, 2), number(share, 0, "nothing was gained or lost")]
        cells += [Cell(f"{one.lowest:.2f} … {one.highest:.2f}")] if every else []
        rows.append(cells)
    return table(heads, rows)


def corners_table(split: Split) -> Table:
    """Show the rows that the factors come from; one that was not measured has no number."""
    heads = [
        Head("changes made", numeric=False), Head("row", numeric=False), Head("p50", "ms"),
        Head("speed-up", "× by the turns"),
    ]  # fmt: skip
    absent = "this build did not measure it on the same network"
    return table(
        heads,
        [
            [
                word(" + ".join(corner.changes) or "none"),
                word(corner.row),
                number(corner.p50_ms, 2, absent),
                number(corner.speedup, 2, absent),
            ]
            for corner in split.corners
        ],
    )


def split_words(split: Split) -> str:
    """Say what was taken apart, and how."""
    told = split.gain.claim or "nothing is claimed of the speed-up"
    head = f"{split.row} takes {split.row_ms:.2f} ms, {split.reference} {split.reference_ms:.2f} ms: {told}."
    if split.gain.disturbed:
        head += " The machine disturbed the run: what follows are estimates."
    if not split.factors:
        return f"{head} It is the reference itself."
    if len(split.order) == 1:
        return f"{head} They differ by {split.order[0]} only."
    if split.method == "mean of all orders":
        return f"{head} Each factor is the geometric mean over all orders in which the changes can be made."
    absent = ", ".join(corner.row for corner in split.missing)
    return f"{head} One order, {' then '.join(split.order)}: this network was not measured as {absent}."


def layers_table(engine: EngineTimes) -> Table:
    """Show the most expensive layers."""
    heads = [
        Head("#"), Head("layer", numeric=False), Head("operator", numeric=False),
        Head("runs in", numeric=False), Head("channels"), Head("map", "px"), Head("kernel"),
        Head("time", "ms"), Head("share", "%"),
    ]  # fmt: skip
    return table(
        heads,
        [
            [
                Cell(str(index)),
                word(layer.cost.title),
                word(layer.cost.operator),
                word(layer.cost.precision, "the runtime does not tell"),
                Cell(_channels(layer.cost)),
                number(layer.cost.side, 0, "writes no feature map"),
                Cell("×".join(map(str, layer.cost.weights.shape[2:])) if layer.cost.weights else ""),
                number(layer.cost.ms, 3),
                number(100 * layer.cost.share, 1),
            ]
            for index, layer in enumerate(engine.layers, start=1)
        ],
    )


def _channels(cost: LayerCost) -> str:
    counts = cost.weights.channels if cost.weights else cost.channels
    return " → ".join("–" if count is None else str(count) for count in counts)


def print_explanation(explanation: Explanation, console: Console) -> None:
    """Print the split, the layers, and under them why each is not faster."""
    split = explanation.split
    if split is None:
        say(console, "This build has no reference row, so that no speed-up can be taken apart.")
    else:
        say(console, split_words(split), "bold")
        if split.factors:
            draw(factors_table(split), console)
            draw(corners_table(split), console)
    for note in explanation.notes:
        say(console, f"note: {note}", "dim")
    if explanation.engine is None:
        say(console, f"The layers were not timed: {explanation.absent}")
        return
    console.print()
    say(console, f"The most expensive of {explanation.engine.nodes} nodes in the final engine", "bold")
    draw(layers_table(explanation.engine), console)
    for index, layer in enumerate(explanation.engine.layers, start=1):
        hang(console, f"{index:>2}. ", plain("; ".join(layer.why)))
    console.print()
    say(console, explanation.engine.note, "dim")


def write_page(explanation: Explanation, path: Path) -> None:
    """Write a self-contained HTML page: bars of the factors and of the layers, and the tables."""
    parts = [paragraph(explanation.verdict)]
    if explanation.split and explanation.split.factors:
        split = explanation.split
        parts += [
            "<h2>What brought the speed-up</h2>",
            paragraph(split_words(split)),
            caption("What each change multiplies the speed by", _factor_bars(split)),
            markup(factors_table(split)),
            markup(corners_table(split)),
        ]
    parts += [paragraph(note) for note in explanation.notes]
    if explanation.engine:
        reasons = (f"<li>{escape(plain('; '.join(layer.why)))}</li>" for layer in explanation.engine.layers)
        parts += [
            "<h2>The most expensive layers</h2>",
            caption("Time of each node, by the runtime's counters", _layer_bars(explanation.engine)),
            markup(layers_table(explanation.engine)),
            "<h3>Why they are not faster</h3>",
            f"<ol>{''.join(reasons)}</ol>",
            paragraph(explanation.engine.note),
        ]
    else:
        parts.append(paragraph(f"The layers were not timed: {explanation.absent}"))
    save_page(path, page(explanation.row, parts))


@chart
def _factor_bars(split: Split) -> str:
    with figure(0.9 + 0.3 * len(split.factors)) as (drawn, axes):
        for index, one in enumerate(split.factors):
            axes.barh(-index, one.factor - 1, left=1, height=0.6, color=BLUE if one.factor >= 1 else ORANGE)
            beside(axes, max(one.factor, 1), -index, f"{one.factor:.2f}×", INK)
        _names(axes, [one.change for one in split.factors])
        axes.set_xlabel("factor of the speed")
        return to_svg(drawn, "factors", "What each change multiplies the speed by")


@chart
def _layer_bars(engine: EngineTimes) -> str:
    with figure(0.9 + 0.24 * len(engine.layers)) as (drawn, axes):
        for index, layer in enumerate(engine.layers):
            colour = BLUE if layer.cost.precision == "int8" else ORANGE
            axes.barh(-index, layer.cost.ms, height=0.7, color=colour)
            text = f"{layer.cost.ms:.3f} {layer.cost.precision}"
            beside(axes, layer.cost.ms, -index, text, INK)
        _names(axes, [ending(layer.cost.title, _NAME_LIMIT) for layer in engine.layers])
        axes.set_xlabel("ms")
        return to_svg(drawn, "layers", "Time of the most expensive nodes")


def _names(axes: Any, names: list[str]) -> None:
    axes.set_yticks([-index for index in range(len(names))])
    axes.set_yticklabels(names)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.25)
