"""What a worker allows itself before it loads an engine, which may ask for any amount of memory.

It travels to the device with the workers: standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from pathlib import Path

from edgeprune.worker.sensors.cgroup import bytes_of, read_limits
from edgeprune.worker.sensors.files import ROOT
from edgeprune.worker.sensors.memory import read_machine_memory

SHARE = 0.8
_ENDS_WITH_ITS_PARENT, _SIGKILL = 1, 9  # PR_SET_PDEATHSIG of prctl(2)


def allowed_bytes(root: Path = ROOT) -> int | None:
    """Return how much memory a worker may take: 80 % of the machine's, or of what its container may use."""
    machine = read_machine_memory(root).get("MemTotal")
    known = [bytes_of(read_limits(root)["memory"]), *([machine * 1024] if machine else [])]
    return None if min(known) == float("inf") else int(SHARE * min(known))


def limit_this_process() -> None:
    """Bound the memory of this process; where the machine's runs short, it is the first to be ended.

    Its bound is that of writable memory (RLIMIT_DATA): address space that a GPU's driver only reserves does
    not count. It leaves no core file, and ends with the process that started it.
    """
    most = allowed_bytes()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if most is not None and (hard == resource.RLIM_INFINITY or most < hard):
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_ENDS_WITH_ITS_PARENT, _SIGKILL)
