"""Energy counters of x86 packages and their memory (RAPL), by the kernel's powercap files.

Since kernel 5.10 only root may read them (CVE-2020-8694).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeprune.worker.sensors.files import ROOT, number_of, text_of


@dataclass(frozen=True)
class Counter:
    """An energy counter in microjoules: behind `range_uj` it begins again at 0."""

    energy_uj: int
    range_uj: int


def read_counters(root: Path = ROOT) -> dict[str, Counter] | None:
    """Return the counters that add up to what processor and memory take: packages, and their ``dram``.

    ``core`` and ``uncore`` are parts of the package, ``psys`` contains it, and the zones of
    ``intel-rapl-mmio`` are the same counters once more: none of these is read.
    """
    counters = {}
    for zone in sorted((root / "sys/class/powercap").glob("intel-rapl:*")):
        name = text_of(zone / "name") or ""
        parent = text_of(zone.with_name(zone.name.rpartition(":")[0]) / "name") or ""
        if name.startswith("package"):
            rail = name
        elif name == "dram" and parent.startswith("package"):
            rail = f"{parent}/dram"
        else:
            continue
        energy, whole = number_of(zone / "energy_uj"), number_of(zone / "max_energy_range_uj")
        if energy is not None and whole:
            counters[rail] = Counter(energy, whole)
    return counters or None


def spent_j(before: Counter, after: Counter) -> float:
    """Return the joules between two readings, less than one whole turn of the counter apart."""
    spent = after.energy_uj - before.energy_uj
    return (spent if spent >= 0 else spent + after.range_uj) / 1e6
