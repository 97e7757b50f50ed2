"""The end of a build on a terminal: the rows of each target, what was chosen, and why the others were not."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from edgeprune.report.cells import number, plain, printable
from edgeprune.report.sensitivity import guard_note
from edgeprune.report.tables import ahead_of_time, budget_words, runtimes
from edgeprune.scores import Metric
from edgeprune.summary import Row, Summary, TargetSummary

CHOSEN, BEST, REFUSED, WARNED = "●", "○", "✗", "⚠"
_STYLES = {CHOSEN: "bold green", REFUSED: "dim"}
_SPEED, _SIZE = ("p50\nms", "p90\nms", "FPS\n1/s", "speed\nup ×"), ("peak\nMB", "size\nMB")
_SCORE: dict[Metric, tuple[str, str]] = {
    "mAP50-95": ("mAP\n50-95", "mAP\ndrop"),
    "top-1": ("\ntop-1", "top-1\ndrop"),
}


def print_summary(summary: Summary, console: Console) -> None:
    """Print the rows per target, what a device has left to do, the budget, warnings, and last the verdict."""
    for name, target in summary.targets.items():
        _print_target(summary, name, target, console)
    legend = [f"accuracy is on {plain(summary.split)}"]
    if summary.chosen:
        legend.append(f"{CHOSEN} chosen, {BEST} best on its target")
    if summary.reference:
        legend.append(f"speed-up is over {plain(summary.reference)}")
    _say(console, "; ".join(legend), "dim")
    budgets = ", ".join(budget_words(summary)) or "none was set"
    _say(console, f"Budget: {budgets}")
    if summary.nearest_miss:
        _say(console, f"Nearest miss: {plain(summary.nearest_miss)}")
    for warning in summary.warnings:
        _say(console, f"{WARNED} {warning.code}: {plain(warning.text)} {plain(warning.advice)}", "yellow")
    _say(console, plain(summary.verdict), "bold")


def _print_target(summary: Summary, name: str, target: TargetSummary, console: Console) -> None:
    title = Text(plain(name), "bold").append(f"  {plain(runtimes(target))}", "dim")
    table = Table(
        box=None, title=title, title_justify="left", title_style="", padding=(0, 2, 0, 0), pad_edge=False
    )
    table.add_column("\n  row", no_wrap=True)
    for head in (*_SPEED, *_SCORE[summary.metric], *_SIZE):
        table.add_column(Text(head), justify="right", no_wrap=True)
    for row in target.rows:
        mark = _mark(summary, target, row)
        marked = Text(f"{mark or ' '} {row.name} {plain(row.precision)}")
        table.add_row(marked, *_numbers(row), style=_STYLES.get(mark))
    # Of its full width always: a terminal that is too narrow breaks the line, no number is ever cut.
    table.width = Measurement.get(console, console.options.update(max_width=200), table).maximum
    console.print(table, crop=False)
    for row in target.rows:
        if row.refused:
            _say(console, f"{REFUSED} {row.name} {row.precision}: {plain(' '.join(row.refused))}", "dim")
    for row in target.rows:
        if row.guard:
            _say(console, f"{row.name} {row.precision}: {guard_note(row.guard)}")
    if target.verdict != summary.verdict:
        _say(console, plain(target.verdict))
    if target.comparison:
        _say(console, plain(target.comparison))
    if proven := ahead_of_time(target):
        _say(console, proven)
    if target.on_device:
        _say(console, f"No latency is shown for {plain(name)}: the device was not there. Run this on it:")
        for command in target.on_device:
            console.print(
                Text(printable(f"  {command}")), soft_wrap=True
            )  # unbroken, so that it can be copied
    console.print()


def _numbers(row: Row) -> list[str]:
    values = (
        (row.p50_ms, 2), (row.p90_ms, 2), (row.fps, 1), (row.speedup, 2),
        (row.score, 4), (row.drop, 4), (row.peak_mb, 0), (row.size_mb, 2),
    )  # fmt: skip
    return [number(value, digits).text for value, digits in values]


def _mark(summary: Summary, target: TargetSummary, row: Row) -> str:
    if summary.chosen and row.label == summary.chosen.label:
        return CHOSEN
    if target.chosen and row.label == target.chosen.label:
        return BEST
    return REFUSED if row.refused else ""


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style))
