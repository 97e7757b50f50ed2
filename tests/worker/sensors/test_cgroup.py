"""What a process is allowed by its control groups: its own and those that it lies in, v2 and v1."""

from __future__ import annotations

import math

import pytest

from edgeprune.worker.sensors.cgroup import bytes_of, cores_of, read_limits
from recorded import Recorded


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("200000 100000", 2),
        ("50000 100000", 0.5),
        ("max 100000", math.inf),
        ("-1 100000", math.inf),
        ("150000", 1.5),
        (None, math.inf),
    ],
)
def test_a_quota_is_so_many_cores(text: str | None, cores: float) -> None:
    assert cores_of(text) == cores


def test_a_container_sees_its_own_group_as_the_root(nothing: Recorded) -> None:
    nothing.write("/proc/self/cgroup", "0::/\n")
    nothing.write("/sys/fs/cgroup/cpu.max", "150000 100000\n")
    nothing.write("/sys/fs/cgroup/memory.max", "max\n")
    limits = read_limits(nothing.root)
    assert limits == {"cpu": "150000 100000", "memory": "max"}
    assert bytes_of(limits["memory"]) == math.inf


def test_the_tightest_of_a_service_and_its_slices_counts(nothing: Recorded) -> None:
    nothing.write("/proc/self/cgroup", "0::/system.slice/runner.service\n")
    for group, cpu, memory in (
        ("system.slice", "100000 100000", "1073741824"),
        ("system.slice/runner.service", "400000 100000", "536870912"),
        ("user.slice", "10000 100000", "1"),
    ):
        nothing.write(f"/sys/fs/cgroup/{group}/cpu.max", f"{cpu}\n")
        nothing.write(f"/sys/fs/cgroup/{group}/memory.max", f"{memory}\n")
    assert read_limits(nothing.root) == {"cpu": "100000 100000", "memory": "536870912"}


def test_version_1_has_a_tree_for_each_kind(nothing: Recorded) -> None:
    nothing.write("/proc/self/cgroup", "4:memory:/jobs/7\n2:cpu,cpuacct:/jobs\n1:name=systemd:/\n0::/\n")
    nothing.write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    nothing.write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    nothing.write("/sys/fs/cgroup/cpu/jobs/cpu.cfs_quota_us", "25000\n")
    nothing.write("/sys/fs/cgroup/cpu/jobs/cpu.cfs_period_us", "50000\n")
    nothing.write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    nothing.write("/sys/fs/cgroup/memory/jobs/7/memory.limit_in_bytes", "268435456\n")
    assert read_limits(nothing.root) == {"cpu": "25000 50000", "memory": "268435456"}


def test_a_group_beyond_the_namespace_is_not_looked_for(nothing: Recorded) -> None:
    nothing.write("/proc/self/cgroup", "0::/../../elsewhere\n")
    nothing.write("/sys/fs/cgroup/memory.max", "1048576\n")
    nothing.write("/elsewhere/memory.max", "1\n")
    assert read_limits(nothing.root) == {"cpu": None, "memory": "1048576"}
