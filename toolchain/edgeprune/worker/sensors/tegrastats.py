"""One line of NVIDIA's `tegrastats`: load and clock of GPU and memory, temperatures, power rails.

The format is that of the Jetson Linux Developer Guide, "tegrastats Utility". It has changed with nearly every
release: with and without units, averages, dates, and engines that are off.
"""

from __future__ import annotations

import re
from typing import Any

from edgeprune.worker.sensors.files import whole

_LINE = re.compile(r"\bRAM (\d{1,9})/(\d{1,9})MB\b")
_CORES = re.compile(r"\bCPU \[([^\]]*)\]")
# JetPack 7 tells no load, only the clocks of the GPU's clusters: `GR3D_FREQ @[1575,1575,1575]`.
_ENGINE = r"\b{} (?:(\d{{1,9}})%)?(?:@(\d{{1,9}}|\[[\d,]{{1,99}}\]))?"
_TEMPERATURE = re.compile(r"\b(\w+)@(-?\d{1,9}(?:\.\d{1,9})?)C\b")
_RAIL = re.compile(r"\b([A-Z][A-Z0-9_]*) (\d{1,9})(?:mW(?:/\d+mW)*|/\d+)(?=\s|$)")
_COLDEST_C = -100.0  # an engine that is switched off reads -256


def parse_tegrastats(line: str) -> dict[str, Any] | None:
    """Return what a line tells, None for a line that is not tegrastats'.

    Returns:
        ``ram_mb`` (used, whole), ``cpu_mhz`` by core (None: off), ``gpu_load_pct``, ``gpu_mhz``,
        ``emc_load_pct``, ``emc_mhz`` (None: not told), ``temp_c`` and ``rails_w`` by name.
    """
    memory = _LINE.search(line)
    if not memory:
        return None
    cores = _CORES.search(line)
    gpu_load, gpu_mhz = _engine("GR3D_FREQ", line)
    emc_load, emc_mhz = _engine("EMC_FREQ", line)
    return {
        "ram_mb": [int(memory[1]), int(memory[2])],
        "cpu_mhz": [_clock(core) for core in cores[1].split(",")] if cores else None,
        "gpu_load_pct": gpu_load,
        "gpu_mhz": gpu_mhz,
        "emc_load_pct": emc_load,
        "emc_mhz": emc_mhz,
        "temp_c": {
            name: float(value) for name, value in _TEMPERATURE.findall(line) if float(value) > _COLDEST_C
        },
        "rails_w": {name: int(milliwatts) / 1000 for name, milliwatts in _RAIL.findall(line)},
    }


def _engine(name: str, line: str) -> tuple[int | None, int | None]:
    found = re.search(_ENGINE.format(name), line)
    if not found:
        return None, None
    clocks = [whole(clock) for clock in (found[2] or "").strip("[]").split(",")]
    load = None if found[1] is None else int(found[1])
    return load, max((clock for clock in clocks if clock is not None), default=None)


def _clock(core: str) -> int | None:
    return whole(core.rpartition("@")[2])
