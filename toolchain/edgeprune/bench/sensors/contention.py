"""Time that others had: the hypervisor by /proc/stat, other processes by the run queue's delay."""

from __future__ import annotations

import os
from pathlib import Path

from edgeprune.bench.sensors.files import ROOT, text_of, whole


def read_stolen_s(root: Path = ROOT) -> dict[str, float]:
    """Return the seconds since boot that the hypervisor took, by allowed core.

    Empty where /proc/stat is hidden (Android).
    """
    allowed = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    tick = os.sysconf("SC_CLK_TCK")
    rows = [line.split() for line in (text_of(root / "proc/stat") or "").splitlines()]
    told = {row[0]: whole(row[8]) for row in rows if len(row) > 8 and row[0] in allowed}
    return {core: ticks / tick for core, ticks in told.items() if ticks is not None}


def read_waited_s(root: Path = ROOT) -> float | None:
    """Return the seconds that this process's threads were ready to run while others held their cores.

    That is the run-queue delay of /proc/PID/schedstat, None where the kernel does not keep it. It tells of
    foreign work whether or not the process is pinned, and nothing of foreign work that was not in the way.
    """
    told = [text_of(path) for path in (root / "proc/self/task").glob("*/schedstat")]
    delays = [whole(row.split()[1]) for row in told if row and len(row.split()) > 1]
    known = [delay for delay in delays if delay is not None]
    return sum(known) / 1e9 if known else None
