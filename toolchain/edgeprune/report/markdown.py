"""The report as Markdown, made to be pasted into a pull request: the rows first, the evidence folded away."""

from __future__ import annotations

import html
import re
from pathlib import Path

from edgeprune.records.pruning import BudgetSearch, Pruning
from edgeprune.report import tables
from edgeprune.report.cells import Line, Table, number, plain, printable
from edgeprune.report.certainty import CONFIDENCE, optimism, shows_intervals
from edgeprune.report.descent import iterations_table, passes_table, prediction_note
from edgeprune.report.facts import Report, load_report, save_page
from edgeprune.report.heading import chosen_place, done_on, heading
from edgeprune.report.machine import date_words, device_words
from edgeprune.report.rungs import levers_table, rungs_table, search_words
from edgeprune.report.sensitivity import guard_note, guards, layers_table, tries_table
from edgeprune.report.sparse import epochs_table

PAGE = "report.md"
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&!$@])")
# What begins a list or a rule at the start of a line, and what links by itself.
_START, _LINK = re.compile(r"^(\d{0,9})([-+.)])(?=\s|-|$)"), re.compile(r"(:)(?=//)|(?<=www)(\.)")
# Forges look for names and numbers of issues after the escapes are gone: an empty comment parts them.
_MENTION = re.compile(r"(?<=[@#])(?=\w)")


def write_markdown(folder: Path, out: Path | None = None) -> Path:
    """Write the Markdown report of a build folder and return its path (`folder`/report.md by default).

    Raises:
        NotComparableError: the folder holds no finished build.
        OutputError: the page cannot be written.
    """
    return save_page(out or folder / PAGE, render_markdown(load_report(folder)))


def render_markdown(report: Report) -> str:
    """Return the report as GitHub-flavoured Markdown."""
    parts = [*_headline(report), *_rows(report)]
    parts += folded("Latency, memory and cold start", _speed(report))
    for names, pruning in report.prunings():
        parts += folded(f"Pruning of {', '.join(names)}", _pruning(pruning))
    for row, guard in guards(report.summary):
        parts += folded(
            f"Layers of {row.label} in float",
            [escape(guard_note(guard)), pipes(tries_table(guard.tries)), pipes(layers_table(guard))],
        )
    if classes := tables.classes_table(report):
        parts += folded(f"Accuracy per class on {report.summary.split}", [pipes(classes)])
    parts += folded("Flags, export check and environment", _evidence(report))
    parts += folded("Files and digests", [pipes(tables.artifacts_table(report))])
    parts += ["**Reproduce**", _fence("\n".join(tables.commands(report)))]
    return "\n\n".join(parts) + "\n"


def _headline(report: Report) -> list[str]:
    summary = report.summary
    parts = [f"## {escape(heading(summary))}"]
    if device := device_words(summary.environment):
        parts.append(escape(f"{done_on(summary)} {device}, {date_words(summary.created_utc)}."))
    if summary.chosen is not None:
        place = escape(chosen_place(summary.chosen))
        parts.append(f"Chosen: **{escape(summary.chosen.label)}** ({place})")
    else:
        miss = summary.nearest_miss
        parts.append(f"**No row was chosen.**{f' Nearest miss: {escape(miss)}' if miss else ''}")
    budgets = " · ".join(tables.budget_words(summary)) or "none was set"
    reported = "" if summary.split == summary.selection_split else f"; {summary.split} is only reported"
    parts.append(escape(f"Budget: {budgets}. The choice is made on {summary.selection_split}{reported}."))
    return parts


def _rows(report: Report) -> list[str]:
    parts = []
    for name, target in report.summary.targets.items():
        data = tables.rows_table(report, target)
        parts.append(f"### {escape(name)} ({escape(tables.runtimes(target))})")
        parts.append(escape(target.verdict))
        if target.comparison:
            parts.append(escape(target.comparison))
        parts.append(pipes(data))
        refused = [
            f"- {line.cells[0].text} is refused: {escape(' '.join(line.notes))}"
            for line in data.lines
            if line.notes
        ]
        if refused:
            parts.append("\n".join(refused))
        elsewhere = tables.evaluated_elsewhere(report.summary, name)
        said = (elsewhere, tables.placed(target), tables.ahead_of_time(target))
        parts += [escape(sentence) for sentence in said if sentence]
        if target.on_device:
            absent = f"No latency is shown for {name}: the device was not there. Run this on it:"
            parts += [escape(absent), _fence("\n".join(target.on_device))]
    if report.summary.warnings:
        lines = [
            f"- **{escape(warning.code)}**: {escape(warning.text)} {escape(warning.advice)}"
            for warning in report.summary.warnings
        ]
        parts += ["### Warnings", "\n".join(lines)]
    if choice := optimism(report.summary):
        parts.append(escape(choice))
    if shows_intervals(report.summary):
        parts.append(escape(f"{CONFIDENCE}."))
    if batch := tables.batch_words(report.summary):
        parts.append(escape(f"{batch[0].upper()}{batch[1:]}."))
    if report.summary.reference:
        parts.append(escape(f"Speed-up is relative to {report.summary.reference}; a dash was not measured."))
    return parts


def _speed(report: Report) -> list[str]:
    if not report.measured():
        return ["There are no latency samples to show: this folder holds no bench results."]
    power = tables.power_table(report)
    shown = [tables.latency_table(report), tables.memory_table(report), *([power] if power else [])]
    return [pipes(data) for data in shown]


def _pruning(pruning: Pruning) -> list[str]:
    surgery, recovery = pruning.score_after_surgery, pruning.score_after_recovery
    return [
        escape(
            f"Criterion {pruning.criterion}, goal {pruning.goal}, ratio {pruning.ratio:.3g}; "
            f"widths are multiples of {pruning.step}. "
            f"{pruning.metric} {number(surgery, 4).text} after surgery, "
            f"{number(recovery, 4).text} after recovery."
        ),
        *([escape(tables.limit_words(pruning.limit))] if pruning.limit else []),
        pipes(tables.pruning_table(pruning)),
        *([escape(note)] if (note := tables.whole_note(pruning)) else []),
        pipes(tables.channels_table(pruning)),
        *([pipes(epochs_table(pruning.sparse))] if pruning.sparse else []),
        *([pipes(passes_table(pruning.passes))] if pruning.passes else []),
        *(
            [escape(prediction_note(pruning.iterations)), pipes(iterations_table(pruning.iterations))]
            if pruning.iterations
            else []
        ),
        *(_search(pruning.search) if pruning.search else []),
    ]


def _search(search: BudgetSearch) -> list[str]:
    levers = levers_table(search)
    parts = [escape(" ".join(search_words(search))), pipes(rungs_table(search))]
    return [*parts, *(["Each way to a size:", pipes(levers)] if levers else [])]


def _evidence(report: Report) -> list[str]:
    flags = tables.flags_table(report)
    none = "No run was flagged." if report.benches else "No run was measured, so none was flagged."
    parts = [pipes(flags) if flags.lines else none]
    parts += [escape(sentence) for sentence in report.unreadable]
    if report.summary.exports:
        parts += ["Largest difference between ONNX and torch:", pipes(tables.exports_table(report))]
    for title, data in tables.facts_tables(report).items():
        parts += [f"**{title}**", pipes(data)]
    return parts


def folded(title: str, parts: list[str]) -> list[str]:
    """Return parts of Markdown that are folded away under a title."""
    return ["<details>", f"<summary>{html.escape(plain(title))}</summary>", *parts, "</details>"]


def pipes(data: Table) -> str:
    """Return a table as GitHub-flavoured Markdown."""
    heads = [escape(f"{head.text} ({head.unit})" if head.unit else head.text) for head in data.heads]
    rule = ["--:" if head.numeric else ":--" for head in data.heads]
    lines = [heads, rule, *(_cells(line) for line in data.lines)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(line: Line) -> list[str]:
    bold = "**" if line.tone == "chosen" else ""
    cells = [f"{bold}{escape(cell.text)}{bold}" if cell.text else "" for cell in line.cells]
    if line.flagged:
        cells[1] += f" ({escape(line.flagged)})"
    return cells


def escape(text: object) -> str:
    """Keep a text from being read as Markdown, HTML or a table border."""
    safe = _START.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", plain(text)))
    return _MENTION.sub("<!-- -->", _LINK.sub(r"\\\g<0>", safe))


def _fence(text: str) -> str:
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{ticks}sh\n{printable(text)}\n{ticks}"
