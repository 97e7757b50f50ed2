"""Benchmark results on a terminal: a table a scenario with its own figures, then their evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from edgeprune.bench.derived import hottest_c
from edgeprune.bench.statistics import achieved_fps, image_ms, latency_ms
from edgeprune.records.bench_result import BenchResult, Energy
from edgeprune.report.cells import Head, number, plain, table, word
from edgeprune.report.console import draw, say

# A heading, its number in a result, None where it is withheld or was not measured, and the digits shown.
Column = tuple[str, Callable[[BenchResult], float | None], int]

_N: Column = ("n", lambda result: latency_ms(result).n, 0)
_P50: Column = ("p50 ms", lambda result: latency_ms(result).p50, 2)
_P90: Column = ("p90 ms", lambda result: latency_ms(result).p90, 2)
_P99: Column = ("p99 ms", lambda result: latency_ms(result).p99, 2)
_FPS: Column = ("FPS", lambda result: achieved_fps(result.blocks, result.scenario.batch), 1)
_PEAK: Column = ("peak MB", lambda result: result.memory.peak_hwm if result.memory else None, 0)
_LOAD: Column = ("load ms", lambda result: result.cold_ms.load if result.cold_ms else None, 0)

COLUMNS: dict[str, tuple[Column, ...]] = {
    "single_stream": (_N, _P50, _P90, _P99, _FPS, _PEAK, _LOAD),
    "paced": (
        _N,
        _P50,
        _P90,
        _P99,
        _FPS,
        ("asked", lambda result: result.fps.target if result.fps else None, 0),
        ("missed %", lambda result: result.fps.deadline_miss_pct if result.fps else None, 1),
        _PEAK,
    ),
    "throughput": (
        ("in flight", lambda result: float(result.scenario.in_flight), 0),
        _N,
        _FPS,
        _P50,
        _P90,
        _P99,
        _PEAK,
        _LOAD,
    ),
    "sustained": (
        _N,
        ("minutes", lambda result: len(result.minutes), 0),
        ("p50 first", lambda result: result.minutes[0].p50_ms if result.minutes else None, 2),
        ("p50 last", lambda result: result.minutes[-1].p50_ms if result.minutes else None, 2),
        ("RSS first", lambda result: result.minutes[0].rss_mb if result.minutes else None, 1),
        ("RSS last MB", lambda result: result.minutes[-1].rss_mb if result.minutes else None, 1),
        ("MB/minute", lambda result: result.growth.mb_per_minute if result.growth else None, 3),
        _FPS,
    ),
    "cold": (
        ("starts", lambda result: len(result.cold_runs), 0),
        ("load ms", lambda result: result.cold_ms.load if result.cold_ms else None, 1),
        ("compile ms", lambda result: result.cold_ms.compile if result.cold_ms else None, 1),
        ("first ms", lambda result: result.cold_ms.first_infer if result.cold_ms else None, 1),
        _PEAK,
    ),
}

# Shown where some result has it: most engines take one image, and most machines have no sensor that tells.
WHERE_TOLD: tuple[Column, ...] = (
    ("batch", lambda result: float(result.scenario.batch) if result.scenario.batch > 1 else None, 0),
    ("ms/image", image_ms, 2),
    ("mJ", lambda result: 1e3 * result.energy.j_per_inf if result.energy else None, 1),
    ("max °C", lambda result: hottest_c(result.telemetry), 0),
)


def print_results(results: Sequence[BenchResult], console: Console) -> None:
    """Print a table of each scenario's results, the stages around the network, and the flags' evidence.

    A percentile with too few samples behind it is shown as missing, as is what the device cannot tell. Energy
    and temperature have columns where some result has them, and each energy a line that says what it is of.
    """
    for name, columns in COLUMNS.items():
        chosen = [result for result in results if result.scenario.name == name]
        if chosen:
            _print(chosen, columns, console)
    for result in results:
        if result.stages_ms:
            spent = [
                f"{stage} {ms:.2f} ms"
                for stage, ms in result.stages_ms.model_dump().items()
                if ms is not None
            ]
            batch = result.scenario.batch
            of = "one image" if batch == 1 else f"a batch of {batch} images"
            say(console, f"{plain(result.name)}: {of}: {', '.join(spent)}")
    for result in results:
        if result.energy:
            say(console, f"{plain(result.name)}: {_energy_words(result.energy)}")
    for result in results:
        for flag in result.flags:
            say(console, f"{plain(result.name)}: {flag.code}: {plain(flag.evidence)}")


def _energy_words(energy: Energy) -> str:
    rails = ", ".join(map(plain, energy.rails))
    return f"energy by {energy.source} ({rails}): {energy.mean_w:.2f} W, less {energy.idle_w:.2f} W idle"


def _print(results: Sequence[BenchResult], columns: Sequence[Column], console: Console) -> None:
    told = [column for column in WHERE_TOLD if any(column[1](result) is not None for result in results)]
    heads = [Head("engine", numeric=False), *(Head(head) for head, _, _ in (*columns, *told))]
    rows = [
        [word(result.name), *(number(value(result), digits) for _, value, digits in (*columns, *told))]
        for result in results
    ]
    draw(table(heads, rows), console)
