"""Our numbers beside those of a vendor's tool on the same engine."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console

from edgeprune.bench.statistics import achieved_fps, latency_ms
from edgeprune.records.bench_result import BenchResult
from edgeprune.report.cells import Head, number, plain, table, word
from edgeprune.report.console import draw, say

_COLUMNS = {"p50": 3, "p90": 3, "p99": 3, "mean": 3, "fps": 1}
_HEADS = {"fps": "FPS"}


def print_against(results: Sequence[BenchResult], console: Console) -> None:
    """Print both lines of each result that a tool measured as well, how the tool was run, what compares."""
    compared = [(result, result.against) for result in results if result.against and result.blocks]
    if not compared:
        return
    heads = [Head("engine", numeric=False), Head("measured by", numeric=False)]
    heads += [Head(_HEADS.get(name, f"{name} ms")) for name in _COLUMNS]
    rows = []
    for result, against in compared:
        latency = latency_ms(result)
        ours = {name: getattr(latency, name, achieved_fps(result.blocks)) for name in _COLUMNS}
        for by, figures in (("edgeprune", ours), (against["tool"], against["figures"])):
            cells = [number(figures[name], digits) for name, digits in _COLUMNS.items()]
            rows.append([word(result.name), word(by), *cells])
    draw(table(heads, rows), console)
    for _, against in compared:
        command = shlex.join([against["tool"], *against["options"]])
        say(console, f"{plain(command)}: {against['compares']}")
