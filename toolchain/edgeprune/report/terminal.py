"""The end of a build on a terminal: the rows of each target, what was chosen, and why the others were not."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from rich.console import Console
from rich.text import Text

from edgeprune.records.summary import Row, SanityWarning, Summary, TargetSummary
from edgeprune.report.cells import Cell, Head, Line, Table, number, plain, split_metric
from edgeprune.report.certainty import LEGENDS, Room, aligned, brief_cell, optimism, shows_intervals
from edgeprune.report.console import draw, fits, for_terminal, say
from edgeprune.report.heading import heading
from edgeprune.report.rungs import search_words
from edgeprune.report.sensitivity import guard_note
from edgeprune.report.tables import (
    ahead_of_time,
    batch_words,
    budget_words,
    evaluated_elsewhere,
    image_cells,
    placed,
    runtimes,
    speedup_cell,
)

AT_LEAST = "\N{GREATER-THAN OR EQUAL TO}"
CHOSEN, BEST, REFUSED, WARNED = "●", "○", "✗", "⚠"
_STYLES = {CHOSEN: "bold green", REFUSED: "dim"}
_SPEED = (Head("p50", "ms"), Head("p90", "ms"), Head("FPS", "1/s"), Head("speed\nup ×"))
_SIZE = (Head("peak", "MB"), Head("size", "MB"))


def print_summary(summary: Summary, console: Console) -> None:
    """Print the rows per target, what a device has left to do, the budget, warnings, and last the verdict."""
    room = _room(summary, console)
    for name, target in summary.targets.items():
        _print_target(summary, name, target, console, room)
    legend = [*filter(None, [batch_words(summary)]), f"accuracy is on {plain(summary.split)}"]
    if summary.chosen:
        legend.append(f"{CHOSEN} chosen, {BEST} best on its target")
    if summary.reference:
        legend.append(f"speed-up is over {plain(summary.reference)}")
    if LEGENDS[room] and shows_intervals(summary):
        legend.append(LEGENDS[room])
    if any(row.gain and row.gain.disturbed for row in summary.rows()):
        legend.append(f"{AT_LEAST}: the machine disturbed the run, it is at least so much")
    say(console, "; ".join(legend), "dim")
    if said := optimism(summary):
        say(console, said, "dim")
    budgets = ", ".join(budget_words(summary)) or "none was set"
    say(console, f"Budget: {budgets}")
    print_warnings(summary.warnings, console)
    say(console, plain(heading(summary)), "bold")


def print_warnings(warnings: Iterable[SanityWarning], console: Console) -> None:
    """Print a line for each warning."""
    for warning in warnings:
        say(console, f"{WARNED} {warning.code}: {plain(warning.text)} {plain(warning.advice)}", "yellow")


def _room(summary: Summary, console: Console) -> Room:
    """Tell how much of the intervals fits into the tables of all targets."""
    for room in LEGENDS:
        if all(fits(_table(summary, target, room), console) for target in summary.targets.values()):
            return room
    return "none"


def _print_target(summary: Summary, name: str, target: TargetSummary, console: Console, room: Room) -> None:
    title = Text(for_terminal(plain(name)), "bold").append(f"  {for_terminal(runtimes(target))}", "dim")
    console.print(title)
    draw(_table(summary, target, room), console, _STYLES)
    for row in target.rows:
        if row.refused:
            say(console, f"{REFUSED} {row.name} {row.precision}: {plain(' '.join(row.refused))}", "dim")
    for row in target.rows:
        if row.guard:
            say(console, f"{row.name} {row.precision}: {guard_note(row.guard)}")
    if target.pruning and target.pruning.search:
        say(console, plain(" ".join(search_words(target.pruning.search))))
    say(console, plain(target.verdict))
    if target.comparison:
        say(console, plain(target.comparison))
    for said in (evaluated_elsewhere(summary, name), placed(target), ahead_of_time(target)):
        if said:
            say(console, plain(said))
    if target.on_device:
        say(console, f"No latency is shown for {plain(name)}: the device was not there. Run this on it:")
        for command in target.on_device:
            say(console, f"  {command}", whole=True)
    console.print()


def _table(summary: Summary, target: TargetSummary, room: Room) -> Table:
    stem, rest = split_metric(summary.metric)
    rated = (Head(f"{stem}\n{rest}".strip()), Head(f"{stem}\ndrop"))
    image = [Head("image", "ms")] if summary.batch > 1 else []
    heads = (Head("  row", numeric=False), _SPEED[0], *image, *_SPEED[1:], *rated, *_SIZE)
    drops = aligned([brief_cell(row.drop, row.drop_interval, room) for row in target.rows])
    return Table(heads, tuple(map(partial(_line, summary, target), target.rows, drops)))


def _line(summary: Summary, target: TargetSummary, row: Row, drop: Cell) -> Line:
    mark = _mark(summary, target, row)
    cells = [
        Cell(f"{mark or ' '} {row.name} {plain(row.precision)}"),
        number(row.p50_ms, 2),
        *image_cells(summary, row),
        number(row.p90_ms, 2),
        number(row.fps, 1),
        speedup_cell(row, interval=False),
        number(row.score, 4),
        drop,
        number(row.peak_mb),
        number(row.size_mb, 2),
    ]
    return Line(tuple(cells), mark)


def _mark(summary: Summary, target: TargetSummary, row: Row) -> str:
    if summary.chosen and row.label == summary.chosen.label:
        return CHOSEN
    if target.chosen and row.label == target.chosen.label:
        return BEST
    return REFUSED if row.refused else ""
