"""Which cores a worker runs on: always the same ones, alike in kind, no two of them halves of one core.

A worker that wanders over unlike cores (big.LITTLE), or beside its own sibling thread, measures the
scheduler. Standard library only: this file travels with the worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from edgeprune.bench.sensors import cpu
from edgeprune.bench.sensors.files import ROOT, whole


def pin(threads: int) -> None:
    """Keep this process, and the threads it will start, to as many cores as it has threads."""
    os.sched_setaffinity(0, best_cores(threads, os.sched_getaffinity(0)))


def best_cores(threads: int, allowed: Iterable[int], root: Path = ROOT) -> set[int]:
    """Return the cores for `threads` threads: the most capable, of different physical cores, the last first.

    Threads of one physical core are taken before cores of another kind, and cores of another kind only where
    there are more threads than cores of the best kind; the result then carries the flag `mixed_cores`.
    Interrupts and other processes tend to the first cores. All the allowed cores are returned when there are
    no more of them than threads.

    Args:
        root: folder that the machine's files lie in.
    """
    allowed = set(allowed)
    rank = _ranks(root)
    ranked = []
    for core in allowed:
        above = sum(other > core for other in cpu.read_siblings(core, root) & allowed)
        ranked.append((rank.get(core, 0), above, -core))
    return {-core for _, _, core in sorted(ranked)[: max(threads, 1)]}


def _ranks(root: Path) -> dict[int, int]:
    """Return a rank of each core, the most capable first: by a hybrid CPU's kinds, or by capacity."""
    if kinds := cpu.read_kinds(root):
        return {_number(core): cpu.HYBRID_KINDS.index(kind) for core, kind in kinds.items()}
    capacities = {core: whole(text) or 0 for core, text in (cpu.read_capacities(root) or {}).items()}
    return {_number(core): -capacity for core, capacity in capacities.items()}


def _number(core: str) -> int:
    return int(core.removeprefix("cpu"))


def unlike(
    cores: Iterable[int], kinds: dict[str, str] | None, capacities: dict[str, str | None] | None
) -> list[str]:
    """Return the kinds that some cores are of, or their capacities; more than one of them when they differ.

    Args:
        kinds, capacities: as `cpu.read_kinds` and `cpu.read_capacities` give them.
    """
    told = kinds or capacities or {}
    return sorted({str(told[f"cpu{core}"]) for core in cores if told.get(f"cpu{core}") is not None})
