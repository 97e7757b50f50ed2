"""What the machine is and how it is doing, from /proc and /sys: x86 and ARM alike, None where unreadable.

Standard library only: this file travels with the worker, which calls it before and after timing.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CPU = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")
_ENVIRONMENT_PREFIXES = (
    "OMP_",
    "KMP_",
    "GOMP_",
    "MKL_",
    "OPENBLAS_",
    "ORT_",
    "OV_",
    "OPENVINO_",
    "LD_PRELOAD",
    "MALLOC_",
)
# Raspberry Pi: bits 0-3 tell what is on now, bits 16-19 what has happened since boot.
_PI_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")


def read_environment() -> dict[str, Any]:
    """Return the machine's identity and present state as JSON-like data.

    Frequencies are in kHz, memory in kB, temperatures in degrees Celsius; counters count since boot.
    """
    return {
        "machine": platform.machine(),
        "board": _text("/proc/device-tree/model"),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "affinity": sorted(os.sched_getaffinity(0)),
        "os": _os_name(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "time": time.time(),
        "load": _load(),
        "frequency": _per_core(
            "cpufreq", ("scaling_governor", "scaling_min_freq", "scaling_max_freq", "scaling_cur_freq")
        ),
        "capacity": _capacities(),
        "cgroup": _cgroup_limits(),
        "memory_kb": _fields("/proc/meminfo", ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")),
        "swapped_pages": _fields("/proc/vmstat", ("pswpin", "pswpout")),
        "thermal_c": _thermal_zones(),
        "throttle_events": _throttle_events(),
        "pi_throttled": _text(_PI_THROTTLED),
        "variables": {k: v for k, v in sorted(os.environ.items()) if k.startswith(_ENVIRONMENT_PREFIXES)},
    }


def read_stolen_s() -> dict[str, float]:
    """Return the seconds since boot that the hypervisor took, by allowed core.

    Empty where /proc/stat is hidden (Android).
    """
    allowed = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    tick = os.sysconf("SC_CLK_TCK")
    rows = [line.split() for line in (_text("/proc/stat") or "").splitlines()]
    return {row[0]: int(row[8]) / tick for row in rows if row and row[0] in allowed and len(row) > 8}


def read_waited_s() -> float | None:
    """Return the seconds that this process's threads were ready to run while others held their cores.

    That is the run-queue delay of /proc/PID/schedstat, None where the kernel does not keep it. It tells of
    foreign work whether or not the process is pinned, and nothing of foreign work that was not in the way.
    """
    delays = [_text(path) for path in Path("/proc/self/task").glob("*/schedstat")]
    words = [delay.split() for delay in delays if delay]
    return sum(int(word[1]) for word in words) / 1e9 if words else None


def read_cpu_flags() -> frozenset[str]:
    """Return the first core's features, such as ``avx512_vnni`` or ``asimddp``; empty where unreadable."""
    for line in (_text("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"flags", "Features"}:  # x86, ARM
            return frozenset(value.split())
    return frozenset()


def read_status(key: str) -> int | None:
    """Return one number of /proc/self/status, such as ``VmHWM`` in kB, or None."""
    return _fields("/proc/self/status", (key,)).get(key)


@dataclass(frozen=True)
class Resident:
    """This process's memory that is in RAM at this moment, in kB.

    Attributes:
        pss_kb: pages shared with others count by their share; None where the kernel does not tell.
    """

    rss_kb: int
    pss_kb: int | None
    method: str


def read_resident() -> Resident | None:
    """Return the resident memory of this process; None where neither file can be read.

    `smaps_rollup` counts every page; `statm`, where that is forbidden, is off by some pages a core.
    """
    found = _fields("/proc/self/smaps_rollup", ("Rss", "Pss"))
    if "Rss" in found:
        return Resident(found["Rss"], found.get("Pss"), "/proc/self/smaps_rollup")
    words = (_text("/proc/self/statm") or "").split()
    if len(words) < 2:
        return None
    return Resident(int(words[1]) * os.sysconf("SC_PAGE_SIZE") // 1024, None, "/proc/self/statm")


def reset_peak_memory() -> bool:
    """Set VmHWM back to the present resident memory; False where the kernel does not allow it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _text(path: str | Path) -> str | None:
    try:
        return Path(path).read_text(errors="replace").strip(" \t\n\0") or None
    except OSError:
        return None


def _fields(path: str, keys: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for line in (_text(path) or "").splitlines():
        words = line.replace(":", " ").split()
        if len(words) > 1 and words[0] in keys and words[1].isdigit():
            found[words[0]] = int(words[1])
    return found


def _cpu_model() -> str | None:
    """Return the model name on x86, or implementer and part on ARM, where /proc/cpuinfo has no name."""
    info: dict[str, str] = {}
    for line in (_text("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    if "model name" in info:
        return info["model name"]
    parts = [f"{key} {info[key]}" for key in ("CPU implementer", "CPU part", "CPU variant") if key in info]
    return ", ".join(parts) or None


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


def _per_core(folder: str, names: tuple[str, ...]) -> dict[str, dict[str, str | None]] | None:
    cores = {core.name: core / folder for core in sorted(_CPU.glob("cpu[0-9]*"))}
    return {
        core: {name: _text(path / name) for name in names} for core, path in cores.items() if path.is_dir()
    } or None


def _capacities() -> dict[str, str | None] | None:
    """Return the relative capacity of each core: unequal on big.LITTLE and hybrid CPUs."""
    return {path.parent.name: _text(path) for path in sorted(_CPU.glob("cpu[0-9]*/cpu_capacity"))} or None


def _cgroup_limits() -> dict[str, str | None]:
    """Return the limits of cgroup v2, or of v1 where that is mounted."""
    return {
        "cpu": _text(_CGROUP / "cpu.max") or _text(_CGROUP / "cpu/cpu.cfs_quota_us"),
        "memory": _text(_CGROUP / "memory.max") or _text(_CGROUP / "memory/memory.limit_in_bytes"),
    }


def _thermal_zones() -> dict[str, float] | None:
    zones = {}
    for zone in sorted(Path("/sys/class/thermal").glob("thermal_zone*")):
        value = _text(zone / "temp")
        if value and value.lstrip("-").isdigit():
            zones[f"{zone.name} {_text(zone / 'type') or ''}".strip()] = int(value) / 1000
    return zones or None


def _throttle_events() -> int | None:
    """Return how often the cores were throttled for heat since boot (x86), summed."""
    counts = [_text(path) for path in _CPU.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
    return sum(int(count) for count in counts if count) if counts else None
