"""Kernels that a driver compiled and keeps: a run that adds some to them has measured a compiler."""

from __future__ import annotations

import os
from pathlib import Path


def read_jit_cache() -> int | None:
    """Return the bytes in the CUDA driver's cache of compiled kernels, None without one.

    CUDA C++ Programming Guide, "Just-in-Time Compilation": CUDA_CACHE_PATH, or ~/.nv/ComputeCache.
    """
    told = os.environ.get("CUDA_CACHE_PATH")
    folder = Path(told) if told else Path(os.environ.get("HOME", "/")) / ".nv/ComputeCache"
    if not folder.is_dir():
        return None
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(base) / name).stat().st_size
            except OSError:  # it was just evicted
                continue
    return total
