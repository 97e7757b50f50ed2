"""The search for the budget in the report: the curve of accuracy over speed, and what more would buy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgeprune.images.size import size_text, size_words
from edgeprune.records.pruning import BudgetSearch, Rung
from edgeprune.records.resampling.interval import drop_words
from edgeprune.report.cells import Head, Table, number, table, word
from edgeprune.report.certainty import drop_cell, gain_cell
from edgeprune.report.svg import BLUE, INK, MUTED, ORANGE, PAPER, chart, figure, log_axis, to_svg

ENDS = {
    "done": "The search was carried through",
    "time": "The time was up before the search was carried through",
    "interrupted": "Ctrl-C ended the search before it was carried through",
}
MORE = 0.05
"""A budget that is this much larger than the one that was given is not offered any more."""


def rungs_table(search: BudgetSearch) -> Table:
    """Show every size that was tried, the largest first: aim, speed, parameters, drops, what became of it."""
    resized, lost = len({one.imgsz for one in search.rungs}) > 1, any(one.blocks for one in search.rungs)
    told = any(one.cut_from is not None for one in search.rungs)
    heads = [
        Head(_cost(search), "%"),
        *([Head("cut from", "%")] if told else []),
        *([Head("input", "px")] if resized else []),
        *([Head("blocks", "gone")] if lost else []),
        Head("predicted", "ms"),
        Head("times as fast"),
        Head("parameters", "%"),
        Head("drop", f"{search.epochs_short} epochs" if search.epochs_short else "as cut"),
        Head("drop", f"{search.epochs_long} more"),
        Head("", numeric=False),
    ]
    rows = [
        [
            number(100 * one.share, 0),
            *([number(one.cut_from and 100 * one.cut_from, 0, "not cut")] if told else []),
            *([word(size_text(one.imgsz or 0))] if resized else []),
            *([number(one.blocks)] if lost else []),
            number(one.predicted_ms, 2, "no latency table"),
            gain_cell(one.gain, "not measured", interval=False),
            number(100 * one.params, 0),
            drop_cell(one.short, one.short_interval, "not trained"),
            drop_cell(one.long, one.long_interval, "no long recovery"),
            word(_became(one, search) + (" (as cut)" if one.as_cut and search.epochs_short else "")),
        ]
        for one in sorted(search.rungs, key=lambda one: -one.share)
    ]
    return table(heads, rows)


def levers_table(search: BudgetSearch) -> Table | None:
    """Show what each way to the cost of a size came to; None where there was one way only."""
    lost = any(lever.blocks for one in search.rungs for lever in one.levers)
    heads = [
        Head(_cost(search), "%"),
        Head("input", "px"),
        Head("layers cut to" if lost else "widths cut to", "%"),
        *([Head("blocks", "gone")] if lost else []),
        Head(f"{search.metric} after the cut"),
        Head("after", f"{search.epochs_short} epochs"),
        Head("", numeric=False),
    ]
    rows = [
        [
            number(100 * one.share, 0),
            word(size_text(lever.imgsz)),
            number(100 * lever.width, 0),
            *([number(lever.blocks)] if lost else []),
            number(lever.score, 4),
            number(lever.recovered, 4, "not trained"),
            word("taken" if lever.taken else "left"),
        ]
        for one in sorted(search.rungs, key=lambda one: -one.share)
        for lever in one.levers
    ]
    return table(heads, rows) if rows else None


def _cost(search: BudgetSearch) -> str:
    return "latency" if search.cost == "latency" else "work"


def _became(one: Rung, search: BudgetSearch) -> str:
    if one.chosen:
        return "taken" if _keeps(one, search) else "nearest to the budget"
    if one.slow:
        return "not faster on the target"
    return "keeps to the budget" if _keeps(one, search) else "over the budget"


def _keeps(one: Rung, search: BudgetSearch) -> bool:
    counted = one.counted(search.sure)
    return not one.slow and counted is not None and counted <= search.budget


def search_words(search: BudgetSearch) -> list[str]:
    """Say what the search ended with, what it judged by, and what a larger budget or more time would buy."""
    taken = next((one for one in search.rungs if one.chosen), None)
    kept = taken is not None and _keeps(taken, search)
    tried = f"{len(search.rungs)} sizes were tried" if search.rungs else "no size can be cut"
    found = [f"{ENDS[search.ended]}: {tried}."]
    if taken is not None and (better := taken.better(search.sure)):
        size, lost = _size(taken, search), drop_words(*better)
        whole = "with its whole interval to" if search.sure else "to"
        allowed = f"keeps {whole} a drop of {search.budget:g} on val"
        if kept:
            found.append(f"The smallest that {allowed} is {size}; it loses {lost}.")
            found += ["It has all its channels."] if taken.params == 1 else []
        else:
            found.append(
                f"None {allowed}. The nearest is {size}: it loses {lost}, and --max-drop "
                f"{_enough(taken, search)} would take it."
            )
    found += [_more_budget(search, taken)] if taken and kept else [_more_epochs(search)]
    found = list(filter(None, found))
    return [*found, *(f"{note[0].upper()}{note[1:]}." for note in search.notes)]


def _enough(one: Rung, search: BudgetSearch) -> str:
    """Return the least budget, rounded up, that a size keeps to."""
    return f"{math.ceil((one.counted(search.sure) or 0.0) * 1e4) / 1e4:.4f}"


def _size(one: Rung, search: BudgetSearch) -> str:
    at = (
        f" at {size_words(one.imgsz)}" if len({rung.imgsz for rung in search.rungs}) > 1 and one.imgsz else ""
    )
    if one.gain is not None and one.gain.words:
        return f"{one.gain.words} as the original{at}"
    return f"{one.share:.0%} of the {'latency' if search.cost == 'latency' else 'multiply-accumulates'}{at}"


def _more_budget(search: BudgetSearch, taken: Rung) -> str:
    """Say what the next smaller size would have cost, where one was tried that is not far off."""
    smaller = [
        one
        for one in search.rungs
        if (counted := one.counted(search.sure)) is not None
        and not one.slow
        and one.share < taken.share
        and search.budget < counted <= search.budget + MORE
    ]
    if not smaller:
        return ""
    nearest = min(smaller, key=lambda one: one.counted(search.sure) or 0.0)
    return f"A budget of {_enough(nearest, search)} would have bought more: {_size(nearest, search)}."


def _more_epochs(search: BudgetSearch) -> str:
    """Say what long recoveries left of the drops of short ones here: what more epochs may be hoped to do."""
    if search.left is None or not search.epochs_short:
        return ""
    times = search.epochs_long / search.epochs_short
    return (
        f"Here {times:.0f} times the epochs left {search.left:.0%} of a drop, the median of the recoveries: "
        "--effort thorough, or more training images, may close what is missing."
    )


@chart
def accuracy_against_speed(search: BudgetSearch, name: str) -> str | None:
    """Draw the drop of every trained size over its speed, as SVG; None where fewer than two were trained.

    The drop of the better network of a size has its interval, and is on the line.
    """
    judged = [(one, better) for one in search.rungs if not one.slow and (better := one.better(search.sure))]
    if len(judged) < 2:
        return None
    shown = [one for one, _ in judged]
    timed = all(one.gain for one in shown)
    with figure(3.2) as (drawn, axes):
        for drops, filled in (("short", False), ("long", True)):
            _draw_points(
                axes, [one for one in shown if getattr(one, drops) is not None], drops, filled, timed
            )
        for one, (_, interval) in judged:
            if interval:
                axes.vlines(_x(one, timed), *interval, color=BLUE, linewidth=1, zorder=2)
        line = sorted((_x(one, timed), drop) for one, (drop, _) in judged)
        axes.plot(*zip(*line, strict=True), color=MUTED, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
        axes.axhline(search.budget, color=ORANGE, linewidth=1)
        axes.invert_yaxis()
        if timed:
            log_axis(axes, "x", [_x(one, timed) for one in shown])
            least = "; at least, where the machine was busy" if any(map(_is_disturbed, shown)) else ""
            axes.set_xlabel(f"times as fast as the original (log scale; right is faster{least})")
        else:
            axes.invert_xaxis()
            axes.set_xlabel("share of the multiply-accumulates, % (right is smaller)")
        axes.set_ylabel(f"drop of {search.metric} on val")
        axes.tick_params(axis="y", labelcolor=MUTED)
        axes.grid(True)
        return to_svg(drawn, name, "Drop of accuracy over speed of every size that was tried")


def _is_disturbed(one: Rung) -> bool:
    return one.gain is not None and one.gain.disturbed


def _x(one: Rung, timed: bool) -> float:
    """Return where a size stands: how fast it is, or the least that it is, or its share of the work."""
    if not timed or one.gain is None:
        return 100 * one.share
    return one.gain.low if one.gain.disturbed and one.gain.low is not None else one.gain.times


def _draw_points(axes: Any, points: Sequence[Rung], drops: str, filled: bool, timed: bool) -> None:
    for one in points:
        axes.scatter(
            _x(one, timed),
            getattr(one, drops),
            s=70 if one.chosen and filled else 36,
            facecolor=BLUE if filled else PAPER,
            edgecolor=INK if one.chosen and filled else BLUE,
            zorder=3,
        )
