"""What is read from /proc and /sys: on this machine, on an ARM board, and where nothing is readable."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from edgeprune.core.errors import DeviceError
from edgeprune.runners.local import LocalRunner
from edgeprune.worker import environment
from recorded import Record, Recorded


def test_this_machine_can_be_read_and_written_down() -> None:
    env = environment.read_environment()
    assert env["cpu"]
    assert env["memory_kb"]["MemTotal"] > env["memory_kb"]["MemAvailable"] > 0
    assert env["affinity"] == sorted(os.sched_getaffinity(0))
    assert json.loads(json.dumps(env)) == env


def test_only_variables_that_matter_to_a_runtime_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("MY_SECRET_TOKEN", "hush")
    for family in ("OPENVINO", "ORT", "OMP", "KMP", "CUDA", "NVIDIA", "LD_PRELOAD"):
        monkeypatch.setenv(f"{family}_TOKEN", "hush")
    monkeypatch.setenv("LD_LIBRARY_PATH", "https://user:hush@host/lib")
    variables = environment.read_environment()["variables"]
    assert variables["OMP_NUM_THREADS"] == "3" and variables["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert "hush" not in str(variables) and "LD_LIBRARY_PATH" in variables


def test_an_arm_cpu_is_named_by_its_part(nothing: Recorded) -> None:
    nothing.write(
        "/proc/cpuinfo",
        "processor\t: 0\nCPU implementer\t: 0x41\nCPU variant\t: 0x4\nCPU part\t: 0xd0b\n",
    )
    env = environment.read_environment(nothing.root, nothing.ask)
    assert env["cpu"] == "CPU implementer 0x41, CPU part 0xd0b, CPU variant 0x4"


# What result files of earlier versions hold, and flags, doctor and reports read.
SHAPE = {
    "machine", "board", "cpu", "cores", "affinity", "os", "kernel", "python", "time", "load", "frequency",
    "capacity", "cgroup", "memory_kb", "swapped_pages", "thermal_c", "throttle_events", "pi_throttled",
    "variables",
}  # fmt: skip


def test_where_nothing_is_readable_everything_is_unknown(nothing: Recorded) -> None:
    env = environment.read_environment(nothing.root, nothing.ask)
    assert set(env) >= SHAPE
    unknown = {"board", "cpu", "frequency", "capacity", "kinds", "thermal_c", "throttle_events",
               "pi_throttled", "overcurrent_events", "batteries", "jetson", "android"}  # fmt: skip
    assert {key for key in unknown if env[key] is not None} == set()
    assert env["cgroup"] == {"cpu": None, "memory": None}
    assert env["memory_kb"] == {}


def test_a_recorded_device_is_read_whole(recorded: Record) -> None:
    devices = ("raspberry-pi-5", "jetson-orin-nano", "galaxy-a52")
    pi, jetson, phone = map(recorded, devices)
    assert environment.read_environment(pi.root, pi.ask)["board"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert environment.read_environment(pi.root, pi.ask)["pi_throttled"] == "throttled=0x0"
    assert environment.read_environment(jetson.root, jetson.ask)["jetson"]["power_mode"] == "15W"
    phone.said["getprop ro.build.fingerprint"] = "samsung/a52xq"
    env = environment.read_environment(phone.root, phone.ask)
    assert env["android"]["thermal_status"] == 0
    assert json.loads(json.dumps(env)) == env


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel keeps no run-queue delay")
def test_waiting_for_a_core_that_others_hold_is_seen() -> None:
    code = """
import os, time
from edgeprune.worker.environment import read_waited_s
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
