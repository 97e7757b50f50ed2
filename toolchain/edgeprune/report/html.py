"""One self-contained HTML page: no script, no request to anywhere, every text from model or data escaped."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from edgeprune.images.size import size_words
from edgeprune.records.summary import ALTERNATIVES, Row
from edgeprune.report import tables
from edgeprune.report.bars import channels, memory
from edgeprune.report.cells import Cell, number, part_interval, plain, printable
from edgeprune.report.certainty import CONFIDENCE, interval_text, optimism, shows_intervals
from edgeprune.report.descent import iterations_table, passes_table, prediction_note
from edgeprune.report.distribution import latency_histograms, latency_percentiles
from edgeprune.report.facts import Report, load_report, save_page
from edgeprune.report.heading import chosen_place, done_on, heading, unfit_by
from edgeprune.report.machine import date_words, device_words
from edgeprune.report.page import LONG
from edgeprune.report.rungs import accuracy_against_speed, levers_table, rungs_table, search_words
from edgeprune.report.scatter import accuracy_against_latency
from edgeprune.report.sensitivity import (
    gain_against_error,
    guard_note,
    guards,
    layers_table,
    tries_table,
)
from edgeprune.report.sparse import epochs_table, gammas_by_epoch
from edgeprune.report.tables import speedup_cell

PAGE = "report.html"


def write_html(folder: Path, out: Path | None = None) -> Path:
    """Write the HTML report of a build folder and return its path (`folder`/report.html by default).

    Raises:
        NotComparableError: the folder holds no finished build.
        OutputError: the page cannot be written.
    """
    return save_page(out or folder / PAGE, render_html(load_report(folder)))


def render_html(report: Report) -> str:
    """Return the page as text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    summary = report.summary
    return environment.get_template("template.html.j2").render(
        report=report,
        summary=summary,
        title=model_name(report),
        heading=heading(summary),
        chosen_place=chosen_place,
        unfit_by=unfit_by,
        device=device_words(summary.environment),
        done_on=done_on(summary),
        created=date_words(summary.created_utc),
        size=", ".join(filter(None, [size_words(summary.imgsz), tables.batch_words(summary)])),
        tiles=tiles(report),
        budgets=tables.budget_words(summary),
        heads=tables.row_heads(report),
        groups=[
            (name, tables.runtimes(target), target, tables.rows_table(report, target))
            for name, target in summary.targets.items()
        ],
        compared=any(row.variant in ALTERNATIVES for row in summary.rows()),
        scatter=_markup(accuracy_against_latency(report)),
        percentiles=_markup(latency_percentiles(report)),
        histograms=_markup(latency_histograms(report)),
        memory_chart=_markup(memory(report)),
        prunings=[
            (names, pruning, [Markup(svg) for svg in channels(pruning, f"channels-{index}")])  # noqa: S704
            for index, (names, pruning) in enumerate(report.prunings())
        ],
        guards=[
            (row, guard, _markup(gain_against_error(guard, f"guard-{index}")))
            for index, (row, guard) in enumerate(guards(summary))
        ],
        guard_note=guard_note,
        layers_table=layers_table,
        tries_table=tries_table,
        gammas=lambda training, name: _markup(gammas_by_epoch(training, name)),
        epochs_table=epochs_table,
        passes_table=passes_table,
        iterations_table=iterations_table,
        prediction_note=prediction_note,
        intervals=CONFIDENCE if shows_intervals(summary) else "",
        optimism=optimism(summary),
        search_words=search_words,
        search_curve=lambda search, name: _markup(accuracy_against_speed(search, name)),
        rungs_table=rungs_table,
        part_interval=part_interval,
        LONG=LONG,
        levers_table=levers_table,
        tables=tables,
        plain=plain,
        number=number,
    )


def _printable(value: object) -> object:
    return printable(value) if type(value) is str else value


def _markup(svg: str | None) -> Markup | None:
    # The only texts that pass unescaped: ElementTree has serialised, and so escaped, these.
    return None if svg is None else Markup(svg)  # noqa: S704


def _over(row: Row, reference: Row | None) -> str:
    """Say what a speed-up is over, with its interval where the run was calm enough to claim one."""
    gain = row.over_reference
    told = f"{gain.interval}, " if gain and gain.interval and not gain.disturbed else ""
    return f"{told}over {plain(reference.label)}" if reference else ""


def model_name(report: Report) -> str:
    """Return the name of the model that was built."""
    model = report.summary.model
    return plain(model.get("name")) or Path(plain(model.get("path")) or "model").name


def tiles(report: Report) -> list[tuple[str, Cell, str]]:
    """Return the headline numbers of the chosen row: (name and unit, number, what it was before)."""
    row, reference = report.summary.chosen, report.reference
    if row is None:
        return []

    def was(key: str, digits: int) -> str:
        before = getattr(reference, key, None)
        return "" if before is None else f"was {number(before, digits).text}"

    cell = speedup_cell(row, interval=False)
    told = interval_text(row.drop_interval)
    rated = "" if row.score is None else f"{row.score:.4f} on {plain(report.summary.split)}"
    return [
        (
            "speed-up",
            cell if cell.why else Cell(f"{cell.text}×"),
            _over(row, reference),
        ),
        ("p50, ms", number(row.p50_ms, 2), was("p50_ms", 2)),
        ("FPS", number(row.fps, 1), was("fps", 1)),
        (f"{row.metric} drop", number(row.drop, 4, "not evaluated"), " ".join(filter(None, (told, rated)))),
        ("size, MB", number(row.size_mb, 2), was("size_mb", 2)),
        ("peak memory, MB", number(row.peak_mb), was("peak_mb", 0)),
    ]
