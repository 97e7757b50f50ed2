"""Memory of the machine and of a process; memory of an accelerator with the name of its method."""

from __future__ import annotations

from pathlib import Path

from edgeprune.bench.sensors import nvidia
from edgeprune.bench.sensors.files import ROOT, fields_of, text_of, whole

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


def read_pss_kb(pid: int | str = "self", root: Path = ROOT) -> int | None:
    """Return the proportional set size in kB: resident memory, shared pages by the share of each process."""
    return fields_of(root / f"proc/{pid}/smaps_rollup", ("Pss",)).get("Pss")


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
