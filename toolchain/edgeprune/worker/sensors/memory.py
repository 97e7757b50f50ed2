"""Memory of the machine and of a process; memory of an accelerator with the name of its method."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edgeprune.worker.sensors import nvidia
from edgeprune.worker.sensors.files import ROOT, fields_of, text_of, whole

# What a Jetson's GPU holds is in no process's resident memory: NvMap accounts for it by client (root only).
_NVMAP = "sys/kernel/debug/nvmap/iovmm/clients"
_UNITS = {"K": 1024, "M": 1024**2}


def read_machine_memory(root: Path = ROOT) -> dict[str, int]:
    """Return the machine's memory and swap in kB, whole and free."""
    return fields_of(root / "proc/meminfo", ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree"))


def read_swapped_pages(root: Path = ROOT) -> dict[str, int]:
    """Return the pages that the machine swapped in and out since boot."""
    return fields_of(root / "proc/vmstat", ("pswpin", "pswpout"))


def read_status(key: str, pid: int | str = "self", root: Path = ROOT) -> int | None:
    """Return one number of /proc/PID/status, such as ``VmHWM`` or ``VmRSS`` in kB, or None."""
    return fields_of(root / f"proc/{pid}/status", (key,)).get(key)


def reset_peak_memory() -> bool:
    """Set VmHWM back to the present resident memory; False where the kernel does not allow it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Resident:
    """The memory of a process that is in RAM at this moment, in kB.

    Attributes:
        pss_kb: pages shared with others count by their share; None where the kernel does not tell.
    """

    rss_kb: int
    pss_kb: int | None
    method: str


def read_resident(pid: int | str = "self", root: Path = ROOT) -> Resident | None:
    """Return the resident memory of a process; None where neither of two files can be read.

    `smaps_rollup` counts every page; `statm`, where that is forbidden, is off by some pages a core.
    """
    found = fields_of(root / f"proc/{pid}/smaps_rollup", ("Rss", "Pss"))
    if "Rss" in found:
        return Resident(found["Rss"], found.get("Pss"), f"/proc/{pid}/smaps_rollup")
    words = (text_of(root / f"proc/{pid}/statm") or "").split()
    pages = whole(words[1]) if len(words) > 1 else None
    if pages is None:
        return None
    return Resident(pages * os.sysconf("SC_PAGE_SIZE") // 1024, None, f"/proc/{pid}/statm")


def read_device_memory(pid: int, root: Path = ROOT) -> tuple[float, str] | None:
    """Return what a process holds of an accelerator's memory, in MB (1e6 bytes), and how that was read."""
    held = nvidia.read_process_mb(pid)
    if held is not None:
        return held, "NVML, memory of the process on all GPUs"
    rows = [line.split() for line in (text_of(root / _NVMAP) or "").splitlines()]
    own = [row[-1] for row in rows if len(row) > 3 and row[-2] == str(pid)]  # CLIENT PROCESS PID SIZE
    sizes = [(whole(size.rstrip("KM")), _UNITS.get(size[-1], 1)) for size in own]
    known = [number * unit for number, unit in sizes if number is not None]
    return (sum(known) / 1e6, "NvMap, memory of the process (debugfs)") if known else None
