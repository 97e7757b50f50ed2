"""What a worker may take: bounded by the machine, or by what its container may use of it."""

from __future__ import annotations

import sys

import pytest

from edgeprune.core.errors import DeviceError
from edgeprune.runners.local import LocalRunner
from edgeprune.worker.limits import SHARE, allowed_bytes
from recorded import Recorded


def test_the_tighter_of_machine_and_container_counts(nothing: Recorded) -> None:
    assert allowed_bytes(nothing.root) is None
    nothing.write("/proc/meminfo", "MemTotal:  4000000 kB\n")
    assert allowed_bytes(nothing.root) == int(SHARE * 4_096_000_000)
    nothing.write("/sys/fs/cgroup/memory.max", "1000000000\n")
    assert allowed_bytes(nothing.root) == 800_000_000


def test_a_process_that_asks_for_more_than_there_is_ends_alone() -> None:
    code = (
        "from edgeprune.worker.limits import limit_this_process; limit_this_process(); "
        "print('limited', flush=True); held = bytearray(1 << 43)"
    )
    with pytest.raises(DeviceError, match="MemoryError"):
        LocalRunner().run((sys.executable, "-c", code), 60)
