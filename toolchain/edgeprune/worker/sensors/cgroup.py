"""What the control groups of this process allow it: cores and memory, cgroup v2 or v1.

A group's limit holds for all within it, so the tightest from the process's own group up to the root counts:
https://docs.kernel.org/admin-guide/cgroup-v2.html. A container sees its own group as the root; a systemd
service or slice does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edgeprune.worker.sensors.files import text_of

_MOUNTED = "sys/fs/cgroup"


def read_limits(root: Path) -> dict[str, str | None]:
    """Return the limits in the kernel's words; None where no group tells one.

    Returns:
        ``cpu``: "quota period" in microseconds; the quota is ``max``, or -1 of v1, for no limit.
        ``memory``: bytes, or ``max``.
    """
    return {
        "cpu": min(
            _texts(root, "cpu", "cpu.max", ("cpu.cfs_quota_us", "cpu.cfs_period_us")),
            key=cores_of,
            default=None,
        ),
        "memory": min(
            _texts(root, "memory", "memory.max", ("memory.limit_in_bytes",)), key=bytes_of, default=None
        ),
    }


def cores_of(limit: str | None) -> float:
    """Return how many cores a limit as `read_limits` tells it amounts to; infinite without one."""
    quota, _, period = (limit or "max").partition(" ")
    return bytes_of(quota) / float(period or 100_000)


def bytes_of(limit: str | None) -> float:
    """Return a limit of memory as `read_limits` tells it as a number; infinite without one."""
    return float(limit) if limit and limit.isdigit() else math.inf


def _texts(root: Path, controller: str, unified: str, older: tuple[str, ...]) -> Iterator[str]:
    for line in (text_of(root / "proc/self/cgroup") or "0::/").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        own = PurePosixPath(path.lstrip("/"))
        if ".." in own.parts:  # beyond the root of the namespace: not mounted here
            own = PurePosixPath()
        if not controllers:
            base, names = root / _MOUNTED, [unified]
        elif controller in controllers.split(","):
            base, names = root / _MOUNTED / controller, [*older]
        else:
            continue
        for group in (own, *own.parents):
            said = [text_of(base / group / name) for name in names]
            if None not in said:
                yield " ".join(filter(None, said))
