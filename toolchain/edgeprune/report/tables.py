"""The tables of a report, one function each. What a row lacks is shown as missing, with the reason."""

from __future__ import annotations

import json
import shlex

from edgeprune.backends import all_backends
from edgeprune.bench.derived import hottest_c
from edgeprune.bench.statistics import PERCENTILE_MINIMA, latency_ms, median_ms
from edgeprune.core.text import flatten
from edgeprune.records.pruning import Limit, Pruning
from edgeprune.records.summary import Row, Summary, TargetSummary
from edgeprune.report.cells import MISSING, Cell, Head, Line, Table, number, table, word
from edgeprune.report.certainty import drop_cell, gain_cell
from edgeprune.report.facts import Report
from edgeprune.report.heading import unfit_by
from edgeprune.report.machine import date_words, machine_facts, time_words

NOT_MEASURED = "not measured in this build"
NOT_THERE = "not measured: the device was not there"
# Flags of a row itself, which no measurement raised.
_OWN_FLAGS = {
    "accuracy_on_host": "the device was not there: its accuracy was evaluated on this build's machine",
    "accuracy_emulated": "the device was not there: its accuracy was evaluated in the vendor's emulator",
}
ROW = (Head("#"), Head("row", numeric=False))


def row_heads(report: Report) -> tuple[Head, ...]:
    """Return the columns of the main table."""
    split, selection, metric = report.summary.split, report.summary.selection_split, report.summary.metric
    return (
        *ROW,
        Head("p50", "ms"),
        *([Head("p50", "ms an image")] if report.summary.batch > 1 else []),
        Head("p90", "ms"),
        Head("FPS", "1/s"),
        Head("speed-up", "×, 95 %"),
        *(Head(other, split) for other in report.summary.other_metrics),
        Head(metric, split),
        Head("drop", split),
        *([Head("drop", selection)] if selection != split else []),
        Head("peak", "MB"),
        Head("size", "MB"),
    )


def rows_table(report: Report, target: TargetSummary) -> Table:
    """Show every row of a target."""
    return Table(row_heads(report), tuple(_row_line(report, target, row) for row in target.rows))


def _row_line(report: Report, target: TargetSummary, row: Row) -> Line:
    absent = why_unmeasured(target)
    few = absent if row.p50_ms is None else f"withheld: fewer than {PERCENTILE_MINIMA[90]} samples"
    unrated = f"not evaluated on {report.summary.split}"
    cells = [
        Cell(str(report.number[row.label])),
        word(f"{row.name} {row.precision}"),
        number(row.p50_ms, 2, absent),
        *image_cells(report.summary, row, absent),
        number(row.p90_ms, 2, few),
        number(row.fps, 1, absent),
        speedup_cell(row, absent if row.p50_ms is None else "no reference row was measured"),
        *(number(row.others.get(other), 4, unrated) for other in report.summary.other_metrics),
        number(row.score, 4, unrated),
        drop_cell(
            row.drop,
            row.drop_interval,
            unrated if row.score is None else "the original fp32 was not evaluated",
        ),
    ]
    if report.summary.selection_split != report.summary.split:
        why = f"not evaluated on {report.summary.selection_split}"
        cells.append(drop_cell(row.val.drop, row.val.drop_interval, why) if row.val else Cell(MISSING, why))
    cells += [number(row.peak_mb, 0, absent), number(row.size_mb, 2)]
    return Line(tuple(cells), report.tone(row), row.refused, unfit_by(row))


def image_cells(summary: Summary, row: Row, why: str = "not measured") -> list[Cell]:
    """Show what an image of a batch takes at the median; nothing where the batch is one image."""
    if summary.batch == 1:
        return []
    return [number(None if row.p50_ms is None else row.p50_ms / summary.batch, 2, why)]


def batch_words(summary: Summary) -> str:
    """Say what the latencies are of; empty where they are of one image."""
    if summary.batch == 1:
        return ""
    return f"latencies are of a batch of {summary.batch} images, FPS counts images"


def speedup_cell(row: Row, why: str = "not measured", interval: bool = True) -> Cell:
    """Show the speed-up with its interval; of a disturbed run only what it is at least.

    Args:
        interval: show it; a terminal has no room for it, and its verdict tells it.
    """
    return gain_cell(row.over_reference, why, f"disturbed ({row.disturbed_by})", interval)


def why_unmeasured(target: TargetSummary) -> str:
    """Say why the rows of a target have no latency."""
    elsewhere = any(_OWN_FLAGS.keys() & set(row.flags) for row in target.rows)
    return NOT_THERE if target.on_device or elsewhere else NOT_MEASURED


def evaluated_elsewhere(summary: Summary, name: str) -> str:
    """Say whose arithmetic the accuracy of a target is that was not there; empty where it was."""
    rows = summary.targets[name].rows
    emulators = {backend.name: backend.EMULATOR for backend in all_backends()}
    if emulated := next((row for row in rows if "accuracy_emulated" in row.flags), None):
        emulator = emulators.get(emulated.runtime) or "the vendor's emulator"
        return f"The accuracy of {name} is that of its own engines in {emulator}, which tells no latency."
    if not any("accuracy_on_host" in row.flags for row in rows):
        return ""
    return f"The accuracy of {name} is that of the machine of this build; its own arithmetic may differ."


def placed(target: TargetSummary) -> str:
    """Say which operators of its engines the accelerator of a target runs; empty where nothing tells."""
    found: dict[str, list[str]] = {}
    for row in target.rows:
        if row.placement:
            found.setdefault(str(row.placement), []).append(f"{row.name} {row.precision}")
    return " ".join(f"{', '.join(names)}: {said}." for said, names in found.items())


def ahead_of_time(target: TargetSummary) -> str:
    """Say what a build without the device proves of the files for it; empty where nothing proves them."""
    provers = {backend.name: backend.prover for backend in all_backends()}
    rows = [row for row in target.rows if target.on_device and provers.get(row.runtime)]
    prover = provers[rows[0].runtime] if rows else None
    if prover is None:
        return ""
    proofs = {row.ahead_of_time: None for row in rows if row.ahead_of_time}
    made = [
        f"parsed and built ahead of time for {', '.join(proof.capabilities)} "
        f"by {prover.NAME} {proof.version}: "
        + ", ".join(f"{row.name} {row.precision}" for row in rows if row.ahead_of_time == proof)
        for proof in proofs
    ]
    unproven = [f"{row.name} {row.precision}" for row in rows if row.ahead_of_time is None]
    if unproven:
        made.append(f"not checked ({prover.HOW_TO_GET}): {', '.join(unproven)}")
    return f"Files {'; '.join(made)}." if made else ""


def runtimes(target: TargetSummary) -> str:
    """Name the runtimes of a target with their versions."""
    found = {" ".join(filter(None, (row.runtime, row.runtime_version))): None for row in target.rows}
    return ", ".join(found)


def budget_words(summary: Summary) -> list[str]:
    """Return the budgets that were set, one phrase each."""
    phrases = {
        "max_drop": f"{summary.metric} drop ≤ {{:g}} on {summary.selection_split}"
        + (" with its whole 95 % interval" if summary.budget.get("sure") else ""),
        "min_fps": "FPS ≥ {:g}",
        "max_latency_ms": "p50 ≤ {:g} ms",
        "max_memory_mb": "peak memory ≤ {:g} MB",
    }
    return [
        phrases.get(key, f"{key} {{:g}}").format(value)
        for key, value in summary.budget.items()
        if value is not None and key != "sure"
    ]


def _row_cells(report: Report, row: Row) -> list[Cell]:
    return [Cell(str(report.number[row.label])), word(row.label)]


def latency_table(report: Report) -> Table:
    """Show the distribution of every measured row, over all samples: nothing is clipped."""
    heads = [*ROW, Head("samples"), Head("outliers"), Head("min", "ms"), Head("mean", "ms")]
    heads += [Head(f"p{percent}", "ms") for percent in (50, *PERCENTILE_MINIMA)]
    heads += [Head("max", "ms"), Head("process medians", "ms, lowest … highest")]
    rows = []
    for row, bench in report.measured():
        latency = latency_ms(bench)
        medians = [median_ms(block) for block in bench.blocks if block.samples_ns]
        values = [number(value, 2) for value in (latency.min, latency.mean, latency.p50)]
        values += [
            number(value, 2, f"withheld: fewer than {least} samples")
            for value, least in zip(
                (latency.p90, latency.p95, latency.p99), PERCENTILE_MINIMA.values(), strict=True
            )
        ]
        span = Cell(f"{min(medians):.2f} … {max(medians):.2f}")
        counts = [number(latency.n), number(latency.outliers)]
        rows.append([*_row_cells(report, row), *counts, *values, number(latency.max, 2), span])
    return table(heads, rows)


def memory_table(report: Report) -> Table:
    """Show peak memory step by step, how it was read, and the cold start."""
    heads = [*ROW, Head("imports", "MB"), Head("engine loaded", "MB"), Head("peak", "MB")]
    heads += [Head("load", "ms, cold"), Head("first inference", "ms, cold"), Head("method", numeric=False)]
    rows = []
    for row, bench in report.measured():
        memory, cold = bench.memory, bench.cold_ms
        rows.append(
            [
                *_row_cells(report, row),
                number(memory.baseline_hwm if memory else None, 1),
                number(memory.load_hwm if memory else None, 1),
                number(memory.peak_hwm if memory else None, 1),
                number(cold.load if cold else None, 1),
                number(cold.first_infer if cold else None, 1),
                word(memory.method if memory else None, "not measured"),
            ]
        )
    return table(heads, rows)


def power_table(report: Report) -> Table | None:
    """Show energy and heat of the measured rows; None where no sensor told of either.

    Energy needs a row that was measured alone, see `bench/energy.py`.
    """
    told = [(row, bench.energy, hottest_c(bench.telemetry)) for row, bench in report.measured()]
    if not any(energy or heat is not None for _, energy, heat in told):
        return None
    heads = [*ROW, Head("energy", "mJ above idle"), Head("power", "W"), Head("idle", "W")]
    heads += [Head("rails", numeric=False), Head("hottest", "°C")]
    rows = [
        [
            *_row_cells(report, row),
            number(1e3 * energy.j_per_inf if energy else None, 1),
            number(energy.mean_w if energy else None, 2),
            number(energy.idle_w if energy else None, 2),
            word(f"{energy.source} {', '.join(energy.rails)}" if energy else None, "not measured"),
            number(heat),
        ]
        for row, energy, heat in told
    ]
    return table(heads, rows)


def classes_table(report: Report) -> Table | None:
    """Show AP per class of the original beside the chosen row, or beside all when none was chosen."""
    summary = report.summary
    home = summary.targets.get(summary.chosen.target if summary.chosen else next(iter(summary.targets), ""))
    rows = home.rows if home else ()
    original = next((row for row in rows if row.variant == "original" and row.precision == "fp32"), None)
    if original is None or not original.per_class:
        return None
    others = [summary.chosen] if summary.chosen else list(rows)
    others = [row for row in others if row.per_class and row.label != original.label]
    heads = [Head("class", numeric=False), Head("original fp32", "AP50-95")]
    for row in others:
        heads += [Head(f"{row.name} {row.precision}", "AP50-95"), Head("change")]
    lines = []
    for name, before in sorted(original.per_class.items(), key=lambda item: item[0]):
        cells = [word(name), number(before, 4)]
        for row in others:
            after = row.per_class.get(name)
            cells += [number(after, 4), number(None if after is None else after - before, 4)]
        lines.append(cells)
    return table(heads, lines)


def flags_table(report: Report) -> Table:
    """Show every flag with its evidence, the ones that make a run unfit first."""
    heads = [
        *ROW,
        Head("flag", numeric=False),
        Head("severity", numeric=False),
        Head("evidence", numeric=False),
    ]
    rows = []
    for row in report.summary.rows():
        bench = report.benches.get(row.label)
        known = bench.flags if bench else ()
        for flag in sorted(known, key=lambda flag: flag.severity):
            rows.append([*_row_cells(report, row), word(flag.code), word(flag.severity), word(flag.evidence)])
        for code in row.flags:
            if code in _OWN_FLAGS:
                rows.append([*_row_cells(report, row), word(code), word("note"), word(_OWN_FLAGS[code])])
            elif code not in {flag.code for flag in known}:
                gone = "the samples are not in the folder"
                rows.append([*_row_cells(report, row), word(code), word("", gone), word("", gone)])
    return table(heads, rows)


def pruning_table(pruning: Pruning) -> Table:
    """Show what surgery and recovery did, before beside after."""
    heads = [Head("", numeric=False), Head("before"), Head("after"), Head("kept", "%")]
    rows = [
        [Cell(name), number(before), number(after), number(100 * after / before if before else None, 1)]
        for name, before, after in (
            ("parameters", pruning.params_before, pruning.params_after),
            ("multiply-accumulates", pruning.macs_before, pruning.macs_after),
        )
    ]
    return table(heads, rows)


def limit_words(limit: Limit) -> str:
    """Say how far one threshold over all channels could go."""
    return (
        f"One threshold over all channels may remove up to {limit.ratio:.1%} of them (scores below "
        f"{limit.threshold:.3g}) before a layer is empty; the first would be {limit.layer}."
    )


def whole_note(pruning: Pruning) -> str:
    """Name the blocks that went, and those that were left whole, by their classes; nothing where none are."""
    kinds = {
        "Blocks that went": pruning.dropped,
        "Blocks that mix their channels, and so kept all of them": pruning.whole,
    }
    return " ".join(f"{what}: {', '.join(names)}." for what, names in kinds.items() if names)


def channels_table(pruning: Pruning) -> Table:
    """Show the output channels of every convolution."""
    heads = [Head("layer", numeric=False), Head("before"), Head("after"), Head("note", numeric=False)]
    rows = [
        [
            word(layer.layer),
            number(layer.before),
            number(layer.after),
            Cell("its block went" if not layer.after else "" if layer.prunable else "kept whole"),
        ]
        for layer in pruning.layers
    ]
    return table(heads, rows)


def exports_table(report: Report) -> Table:
    """Show how far the ONNX files are from torch."""
    heads = [Head("variant", numeric=False), Head("images"), Head("box", "px"), Head("score")]
    rows = [
        [word(check.name), number(check.images), _difference(check.box_px), _difference(check.score)]
        for check in report.summary.exports
    ]
    return table(heads, rows)


def _difference(value: float | None) -> Cell:
    return Cell("–", "a classifier has no boxes") if value is None else Cell(f"{value:.2g}")


def artifacts_table(report: Report) -> Table:
    """Show which file each row is, with its digest."""
    heads = [*ROW, Head("file", numeric=False), Head("integer ops"), Head("sha256", numeric=False)]
    rows = [
        [
            *_row_cells(report, row),
            word(row.artifact),
            number(row.quantized_ops, 0, "the runtime does not tell, or the row was not built here"),
            word(row.sha256),
        ]
        for row in report.summary.rows()
    ]
    return table(heads, rows)


def facts_tables(report: Report) -> dict[str, Table]:
    """Show model and data, calibration, environment, versions and stage times as key and value."""
    summary = report.summary
    build = {
        "model": summary.model,
        "data": summary.data,
        "imgsz": summary.imgsz,
        **({"batch": summary.batch} if summary.batch > 1 else {}),
        "created": date_words(summary.created_utc),
    }
    bench = {"bench profile": summary.bench_profile, "threads": summary.threads}
    calibration = summary.calibration.model_dump(exclude_none=True) if summary.calibration else {}
    seconds = {stage: time_words(value) for stage, value in summary.seconds.items()}
    sections = {
        "Model and data": build | bench,
        "Calibration": calibration,
        "Machine": machine_facts(summary.environment),
        "Versions on the machine of the build": summary.versions,
        "Stage times": seconds,
    }
    heads = (Head("", numeric=False), Head("", numeric=False))
    return {
        title: table(heads, [[word(key), word(value, "not known")] for key, value in flatten(data)])
        for title, data in sections.items()
        if data
    }


def raw_environment(report: Report) -> str:
    """Return all that was recorded of the machine as JSON, for those who want every number."""
    return json.dumps(report.summary.environment, indent=1, ensure_ascii=False, default=str)


def commands(report: Report) -> list[str]:
    """Return the commands that make this build again and that hold a later build against it."""
    folder = shlex.quote(report.folder.name or str(report.folder))
    return [report.summary.command, f"edgeprune check --baseline {folder} --candidate OTHER_BUILD"]
