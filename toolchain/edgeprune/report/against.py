"""Our numbers beside those of a vendor's tool on the same engine."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from edgeprune.bench.result import BenchResult
from edgeprune.bench.statistics import achieved_fps, latency_ms
from edgeprune.report.cells import number, plain

_COLUMNS = {"p50": 3, "p90": 3, "p99": 3, "mean": 3, "fps": 1}
_HEADS = {"fps": "FPS"}


def print_against(results: Sequence[BenchResult], console: Console) -> None:
    """Print both lines of each result that a tool measured as well, how the tool was run, what compares."""
    compared = [(result, result.against) for result in results if result.against and result.blocks]
    if not compared:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in ("engine", "measured by"):
        table.add_column(head, no_wrap=True)
    for name in _COLUMNS:
        table.add_column(_HEADS.get(name, f"{name} ms"), justify="right", no_wrap=True)
    for result, against in compared:
        latency = latency_ms(result)
        ours = {name: getattr(latency, name, achieved_fps(result.blocks)) for name in _COLUMNS}
        for by, figures in (("edgeprune", ours), (against["tool"], against["figures"])):
            cells = [number(figures[name], digits).text for name, digits in _COLUMNS.items()]
            table.add_row(Text(plain(result.name)), by, *cells)
    table.width = Measurement.get(console, console.options.update(max_width=200), table).maximum
    console.print(table, crop=False)
    for _, against in compared:
        command = shlex.join([against["tool"], *against["options"]])
        console.print(Text(f"{plain(command)}: {against['compares']}"))
