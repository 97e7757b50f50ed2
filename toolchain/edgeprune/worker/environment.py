"""What the machine is and how it is doing, by all of its sensors: x86 and ARM alike, None where unreadable.

Standard library only: this file travels with the worker, which calls it before and after timing.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from edgeprune.core.variables import told_of
from edgeprune.worker.sensors import (
    android,
    cgroup,
    cpu,
    jetson,
    jit_cache,
    memory,
    nvidia,
    supply,
    thermal,
    throttling,
)
from edgeprune.worker.sensors.contention import read_stolen_s, read_waited_s
from edgeprune.worker.sensors.files import ROOT, Ask, said_by, text_of
from edgeprune.worker.sensors.memory import Resident, read_resident, read_status, reset_peak_memory

__all__ = [
    "Resident",
    "read_environment",
    "read_resident",
    "read_status",
    "read_stolen_s",
    "read_waited_s",
    "reset_peak_memory",
]


def read_environment(root: Path = ROOT, ask: Ask = said_by) -> dict[str, Any]:
    """Return the machine's identity and present state as JSON-like data.

    Frequencies of cores are in kHz, memory in kB, temperatures in degrees Celsius; counters count since boot.

    Args:
        root: folder that the machine's files lie in.
        ask: runs one of the machine's own programs and returns what it prints, or None.
    """
    return {
        "machine": platform.machine(),
        "board": text_of(root / "proc/device-tree/model"),
        "cpu": cpu.read_model(root),
        "cores": os.cpu_count(),
        "affinity": sorted(os.sched_getaffinity(0)),
        "os": _os_name(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "time": time.time(),
        "load": _load(),
        "frequency": cpu.read_frequency(root),
        "capacity": cpu.read_capacities(root),
        "kinds": cpu.read_kinds(root),
        "cgroup": cgroup.read_limits(root),
        "memory_kb": memory.read_machine_memory(root),
        "swapped_pages": memory.read_swapped_pages(root),
        "thermal_c": thermal.read_temperatures(root),
        "throttle_events": throttling.read_core_events(root),
        "pi_throttled": throttling.read_pi_throttled(root, ask),
        "overcurrent_events": throttling.read_overcurrent_events(root),
        "batteries": supply.read_batteries(root),
        "jetson": jetson.read_jetson(root, ask),
        "android": android.read_android(ask),
        "gpus": nvidia.read_gpus(),
        "jit_cache_bytes": jit_cache.read_jit_cache(),
        "variables": told_of(os.environ),
    }


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", sys.platform)
    except OSError:
        return sys.platform


def _load() -> list[float] | None:
    try:
        return list(os.getloadavg())
    except OSError:
        return None
