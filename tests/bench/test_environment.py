"""What is read from /proc and /sys: on this machine, on an ARM board, and where nothing is readable."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from edgeprune.bench import environment
from edgeprune.errors import DeviceError
from edgeprune.runners.local import LocalRunner

PI_5 = """\
processor\t: 0
BogoMIPS\t: 108.00
CPU implementer\t: 0x41
CPU variant\t: 0x4
CPU part\t: 0xd0b

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


def test_this_machine_can_be_read_and_written_down() -> None:
    env = environment.read_environment()
    assert env["cpu"]
    assert env["memory_kb"]["MemTotal"] > env["memory_kb"]["MemAvailable"] > 0
    assert env["affinity"] == sorted(os.sched_getaffinity(0))
    assert json.loads(json.dumps(env)) == env


def test_only_variables_that_matter_to_a_runtime_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("MY_SECRET_TOKEN", "hush")
    variables = environment.read_environment()["variables"]
    assert variables["OMP_NUM_THREADS"] == "3"
    assert "MY_SECRET_TOKEN" not in variables


def test_an_arm_cpu_is_named_by_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_text", lambda path: PI_5 if str(path) == "/proc/cpuinfo" else None)
    env = environment.read_environment()
    assert env["cpu"] == "CPU implementer 0x41, CPU part 0xd0b, CPU variant 0x4"


def test_where_nothing_is_readable_everything_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_text", lambda path: None)
    env = environment.read_environment()
    assert env["cpu"] is None
    assert env["board"] is None
    assert env["thermal_c"] is None
    assert env["cgroup"] == {"cpu": None, "memory": None}
    assert environment.read_status("VmHWM") is None
    assert environment.read_stolen_s() == {}
    assert environment.read_waited_s() is None


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel keeps no run-queue delay")
def test_waiting_for_a_core_that_others_hold_is_seen() -> None:
    code = """
import os, time
from edgeprune.bench.environment import read_waited_s
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
if os.fork() == 0:
    while True:  # the runner ends the whole group
        pass
before, deadline = read_waited_s(), time.monotonic() + 60
while read_waited_s() - before < 0.1 and time.monotonic() < deadline:
    pass
print(read_waited_s() - before, flush=True)
os.killpg(0, 9)
"""
    waited: list[float] = []
    with pytest.raises(DeviceError, match="SIGKILL"):
        LocalRunner().run((sys.executable, "-c", code), 90, lambda line: waited.append(float(line)))
    assert waited[0] >= 0.1
