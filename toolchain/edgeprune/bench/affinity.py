"""Which cores a worker runs on: always the same ones, alike in kind, no two of them halves of one core.

A worker that wanders over unlike cores (big.LITTLE), or beside its own sibling thread, measures the
scheduler. Standard library only: this file travels with the worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_CPU = Path("/sys/devices/system/cpu")


def pin(threads: int) -> None:
    """Keep this process, and the threads it will start, to as many cores as it has threads."""
    os.sched_setaffinity(0, best_cores(threads, os.sched_getaffinity(0)))


def best_cores(threads: int, allowed: Iterable[int], cpu: Path = _CPU) -> set[int]:
    """Return the cores for `threads` threads: the most capable, of different physical cores, the last first.

    Interrupts and other processes tend to the first cores. All the allowed cores are returned when there are
    no more of them than threads.

    Args:
        cpu: folder that the kernel describes the cores in.
    """
    seen: dict[str, int] = {}
    ranked = []
    for core in sorted(allowed, reverse=True):
        capacity = _text(cpu / f"cpu{core}/cpu_capacity")
        siblings = _text(cpu / f"cpu{core}/topology/thread_siblings_list") or str(core)
        seen[siblings] = seen.get(siblings, 0) + 1
        ranked.append((-int(capacity or 0), seen[siblings], -core))
    return {-core for _, _, core in sorted(ranked)[: max(threads, 1)]}


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None
