"""Which cores a worker runs on: always the same ones, alike in kind, no two of them halves of one core.

A worker that wanders over unlike cores (big.LITTLE), or beside its own sibling thread, measures the
scheduler. Standard library only: this file travels with the worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgeprune.worker.sensors import cpu
from edgeprune.worker.sensors.files import ROOT, whole


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
    """Return a rank of each core, the most capable first: by kind of a hybrid CPU, capacity or clock."""
    if kinds := cpu.read_kinds(root):
        return {_number(core): cpu.HYBRID_KINDS.index(kind) for core, kind in kinds.items()}
    capacities = {core: whole(text) or 0 for core, text in (cpu.read_capacities(root) or {}).items()}
    if len(set(capacities.values())) < 2:
        capacities = cpu.read_top_clocks(root) or capacities
    return {_number(core): -capacity for core, capacity in capacities.items()}


def _number(core: str) -> int:
    return int(core.removeprefix("cpu"))


def unlike(cores: Iterable[int], env: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return what tells cores apart, and what some of them are by it; more than one of that when they differ.

    Args:
        env: as `environment.read_environment` gives it.
    """
    kinds, capacities = env.get("kinds"), env.get("capacity")
    clocks = {}
    for core, clock in (env.get("frequency") or {}).items():
        if khz := whole(clock.get("cpuinfo_max_freq")):
            clocks[core] = khz
    if kinds:
        what, told = "kind", kinds
    elif capacities and len(set(capacities.values())) > 1:
        what, told = "capacity", capacities
    else:
        tops = cpu.top_clocks(clocks) or {}
        what, told = "up to", {core: f"{khz // 1000} MHz" for core, khz in tops.items()}
    return what, sorted({str(told[f"cpu{core}"]) for core in cores if told.get(f"cpu{core}") is not None})
