"""NVIDIA GPUs by NVML (the package nvidia-ml-py); a Jetson's driver leaves most of it unanswered."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

# nvmlClocksEventReasons that mean heat or a failing supply. The power cap (4) is left out: a GPU under full
# load is held to its rated power, which is its normal state.
SLOWDOWNS = {
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}


def read_gpus() -> list[dict[str, Any]] | None:
    """Return name, driver, memory (MB), temperature, clock (MHz), power (W) and slowdown bits of each GPU.

    None without nvidia-ml-py or a driver; what a GPU does not tell is None.
    """
    nvml, handles = _nvml()
    if not handles:
        return None
    driver = _told(nvml.nvmlSystemGetDriverVersion)
    gpus = []
    for handle in handles:
        memory = _told(nvml.nvmlDeviceGetMemoryInfo, handle)
        milliwatts = _told(nvml.nvmlDeviceGetPowerUsage, handle)
        gpus.append(
            {
                "name": _text(_told(nvml.nvmlDeviceGetName, handle)),
                "driver": _text(driver),
                "memory_mb": None if memory is None else memory.total / 1e6,
                "memory_used_mb": None if memory is None else memory.used / 1e6,
                "temp_c": _told(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
                "sm_mhz": _told(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
                "power_w": None if milliwatts is None else milliwatts / 1000,
                "slowdown": _slowdown(nvml, handle),
            }
        )
    return gpus


def read_process_mb(pid: int) -> float | None:
    """Return the memory that a process holds on all GPUs, in MB (1e6 bytes), or None."""
    nvml, handles = _nvml()
    held = [
        process.usedGpuMemory
        for handle in handles
        for process in _told(nvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
        if process.pid == pid and process.usedGpuMemory is not None
    ]
    return sum(held) / 1e6 if held else None


def slowdown_words(bits: int) -> str:
    """Say in words why a GPU lowered its clock."""
    return ", ".join(word for bit, word in SLOWDOWNS.items() if bits & bit)


def _slowdown(nvml: Any, handle: Any) -> int | None:
    bits = _told(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
    return None if bits is None else int(bits) & sum(SLOWDOWNS)


@functools.cache
def _nvml() -> tuple[Any, tuple[Any, ...]]:
    """Return the library and a handle a GPU; opened once, since that takes longer than every reading."""
    try:
        import pynvml
    except ImportError:
        return None, ()
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        return pynvml, tuple(pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count))
    except pynvml.NVMLError:
        return pynvml, ()


def _told(ask: Callable[..., Any], *about: Any) -> Any:
    """Return the answer, None where the GPU, or the driver's version, does not give it."""
    import pynvml

    try:
        return ask(*about)
    except pynvml.NVMLError:
        return None


def _text(told: Any) -> str | None:
    return told.decode(errors="replace") if isinstance(told, bytes) else told
