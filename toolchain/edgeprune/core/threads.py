"""How many threads a training may compute on.

Standard library only. The package imports it before anything else: ultralytics sets `OMP_NUM_THREADS` where
the user did not, and afterwards nobody could tell whose it is.
"""

from __future__ import annotations

import os

_ASKED = os.environ.get("OMP_NUM_THREADS", "")


def training_threads() -> int:
    """Return what the user's `OMP_NUM_THREADS` says, else the number of cores that this process may use."""
    first = _ASKED.partition(",")[0].strip()
    if first.isdigit() and int(first) > 0:
        return int(first)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
