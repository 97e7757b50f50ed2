"""The live view: what workers tell while they measure, and the words it is shown in.

Nothing is told from inside a timed loop: between two of its slices, or while others have their turn. Standard
library only: this file travels with the worker.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeprune.worker.sensors import thermal
from edgeprune.worker.sensors.files import ROOT

LATEST = 1000  # samples: enough for a steady median, and sorted in a moment


def figures(samples_ns: Sequence[int]) -> dict[str, float]:
    """Return the queries so far, ``n``, and the median of the latest thousand, ``p50_ms``."""
    if not samples_ns:
        return {}
    return {"n": len(samples_ns), "p50_ms": statistics.median(samples_ns[-LATEST:]) / 1e6}


def temperature(root: Path = ROOT) -> dict[str, float]:
    """Return the hottest zone's ``temperature_c`` in degrees Celsius; nothing where none can be read."""
    found = thermal.hottest(thermal.read_temperatures(root))
    return {} if found is None else {"temperature_c": found}


def words(what: str, said: Mapping[str, Any]) -> str:
    """Return what is shown: what runs, then what its worker said; a line a row where several take turns."""
    heat = f"{said['temperature_c']:.0f} °C" if "temperature_c" in said else ""
    rows: Mapping[str, Mapping[str, float]] = said.get("rows", {})
    head = ", ".join(filter(None, (what, _row(said), heat)))
    return "\n".join([head, *(f"  {name}: {_row(row)}" for name, row in rows.items() if row)])


def _row(said: Mapping[str, Any]) -> str:
    queries = f"{said['n']:,.0f} queries" if "n" in said else ""
    median = f"p50 {said['p50_ms']:.2f} ms" if "p50_ms" in said else ""
    return ", ".join(filter(None, (queries, median)))
