"""The process beside the workers: what it samples, where it runs, and that it ends with them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeprune.bench.effort import BenchProfile
from edgeprune.bench.energy import measure_idle
from edgeprune.bench.protocol import measure
from edgeprune.records.bench_result import BenchResult, Job
from edgeprune.runners import Completed
from edgeprune.runners.local import LocalRunner
from edgeprune.worker import telemetry
from edgeprune.worker.sensors import rapl
from recorded import SENSORS, Record, Recorded

SPIN = "import os, sys\nprint(os.getpid(), flush=True)\nsys.stdin.read()"


def _sample(device: Recorded) -> dict[str, Any]:
    return telemetry.Sampler(device.root, device.ask).take([])


def test_a_sample_of_a_device_that_tells_nothing(nothing: Recorded) -> None:
    sample = _sample(nothing)
    assert sample.pop("t") > 0
    assert set(sample.values()) == {None}


def test_a_sample_of_recorded_devices(recorded: Record) -> None:
    orin = _sample(recorded("jetson-agx-orin"))["power_w"]
    assert set(orin) == {"ina3221/VDD_GPU_SOC", "ina3221/VDD_CPU_CV", "ina3221/VIN_SYS_5V0"}
    assert _sample(recorded("hot-server"))["throttle"] == {"throttle_events": 231}
    assert _sample(recorded("raspberry-pi-5"))["throttle"] == {"pi_throttled": "throttled=0x0"}
    assert _sample(recorded("intel-laptop"))["temp_c"] == {"thermal_zone0 acpitz": 25.0}


def test_an_energy_counter_tells_the_power_since_the_last_sample(
    recorded: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop = recorded("intel-laptop")
    clock = iter([100.0, 102.0, 104.0])
    monkeypatch.setattr(telemetry.time, "monotonic", lambda: next(clock))
    sampler = telemetry.Sampler(laptop.root, laptop.ask)
    assert sampler.take([])["power_w"] is None
    assert sampler.counts_energy
    laptop.write("/sys/class/powercap/intel-rapl:0/energy_uj", str(26963529117 + 30_000_000))
    assert sampler.take([])["power_w"] == {"rapl/package-0": pytest.approx(15.0)}
    laptop.write("/sys/class/powercap/intel-rapl:0/energy_uj", "7000000")  # it began again at 0
    left = 262143328850 - 26963529117 - 30_000_000
    assert sampler.take([])["power_w"] == {"rapl/package-0": pytest.approx((left / 1e6 + 7) / 2)}


def test_a_pixel_tells_its_power_by_its_own_clock_and_repeats_what_it_has_told(recorded: Record) -> None:
    pixel = recorded("pixel-6")
    sampler = telemetry.Sampler(pixel.root, pixel.ask)
    energy = "/sys/bus/iio/devices/iio:device0/energy_value"
    told = (pixel.root / energy.lstrip("/")).read_text()
    assert sampler.take([])["power_w"] is None
    assert sampler.counts_energy
    later = told.replace("349894", "351894").replace("S4M_VDD_CPUCL0], 46356942", "S4M_VDD_CPUCL0], 49356942")
    pixel.write(energy, later)
    for _ in range(2):  # asked too soon, the monitor answers as before
        power = sampler.take([])["power_w"]
        assert power["odpm/S4M_VDD_CPUCL0"] == pytest.approx(1.5)
        assert len(power) == 8  # the other monitor has told nothing new yet
        assert sum(power.values()) == pytest.approx(1.5)


def test_a_gpu_has_a_temperature_as_well(nothing: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = {"temp_c": 71, "power_w": None, "slowdown": None}
    monkeypatch.setattr(telemetry.nvidia, "read_gpus", lambda: [gpu, gpu | {"temp_c": None}])
    assert _sample(nothing)["temp_c"] == {"nvml/0": 71}


def test_tegrastats_stands_in_for_rails_that_cannot_be_read(nothing: Recorded) -> None:
    line = (SENSORS / "tegrastats.txt").read_text().splitlines()[5]
    told = telemetry.tegrastats.parse_tegrastats(line)
    sample = telemetry.Sampler(nothing.root, nothing.ask).take([], told)
    assert sample["power_w"] == {"tegrastats/VDD_IN": 5.299}
    assert sample["tegra"] == {"gpu_load_pct": 0, "gpu_mhz": 611, "emc_load_pct": 0, "emc_mhz": 2133}


def test_it_keeps_off_the_measured_cores_and_says_when_it_cannot() -> None:
    code = """
import os
from edgeprune.worker.telemetry import keep_off
allowed = os.sched_getaffinity(0)
measured = {max(allowed)}
free = keep_off(measured, allowed)
assert free == (len(allowed) > 1), free
assert not free or not os.sched_getaffinity(0) & measured
assert keep_off(allowed, allowed) is False  # all are measured: it stays on them
assert os.sched_getaffinity(0) == allowed
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def _watched(path: Path, pid: int) -> list[dict[str, Any]]:
    """Watch a process until there are two samples of it."""
    with telemetry.beside(str(path)) as beside:
        beside.watch(pid)
        while len(found := [sample for sample in beside.samples(pid) if sample["rss_kb"]]) < 2:
            os.sched_yield()
    return found


@pytest.fixture
def bystander():
    """Return a process on one core that does nothing."""
    process = subprocess.Popen([sys.executable, "-c", SPIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout and process.stdin
    process.stdout.readline()
    os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
    yield process
    process.stdin.close()
    process.wait()
    process.stdout.close()


def test_samples_come_while_it_runs_and_name_the_watched_process(
    bystander, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(telemetry, "END_WITHIN_S", 30.0)
    first, second = _watched(tmp_path / "out", bystander.pid)[:2]
    assert first["rss_kb"] > 1000
    assert second["t"] > first["t"]
    assert second["off_cores"] == (len(os.sched_getaffinity(0)) > 1)
    assert telemetry.VARIABLE not in os.environ


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the kernel lists no children")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_the_process_that_started_it_and_leaves_its_samples(
    tmp_path: Path, how: signal.Signals
) -> None:
    out = tmp_path / "out"
    code = f"""
import os, sys
from edgeprune.worker import telemetry
with telemetry.beside({str(out)!r}) as beside:
    beside.watch(os.getpid())
    while not beside.samples(os.getpid()):
        os.sched_yield()
    print(flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout and process.stdin
    process.stdout.readline()
    (child,) = _children(process.pid)
    watcher = os.pidfd_open(child)
    process.send_signal(how)
    process.wait()
    signalled = telemetry.select.select([watcher], [], [], 60)[0]
    os.close(watcher)
    process.stdin.close()
    process.stdout.close()
    assert signalled, "it outlived the worker"
    assert telemetry.read_samples(Path(f"{out}{telemetry.SUFFIX}"))


def test_a_file_that_was_cut_off_gives_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text('{"t": 1.0}\n{"t": 2.0}\n17\n{"t": 3.')
    assert telemetry.read_samples(path) == [{"t": 1.0}, {"t": 2.0}]
    assert telemetry.read_samples(tmp_path / "absent") == []


def test_a_measurement_goes_on_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with telemetry.beside(str(tmp_path / "out")) as beside:
        beside.watch(os.getpid())
        assert beside.samples(os.getpid()) == []


def test_a_worker_beside_others_uses_the_telemetry_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared.jsonl"
    shared.write_text(json.dumps({"t": 1.0, "rss_kb": {"7": 70, "8": 80}}) + "\n")
    monkeypatch.setenv(telemetry.VARIABLE, str(shared))
    with telemetry.beside(str(tmp_path / "own")) as beside:
        beside.watch(8)
        assert beside.samples(8) == [{"t": 1.0, "rss_kb": 80}]
    assert list(tmp_path.iterdir()) == [shared]


def test_tegrastats_is_read_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "tegrastats"
    program.write_text(f"#!/bin/sh\ncat {SENSORS / 'tegrastats.txt'}\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = _watched(tmp_path / "out", os.getpid())
    assert any((sample["power_w"] or {}).get("tegrastats/VDD_IN") == 2.532 for sample in found)


def test_without_a_sensor_of_power_idle_is_not_waited_for(tmp_path: Path) -> None:
    if telemetry.Sampler().take([])["power_w"] or rapl.read_counters():
        pytest.skip("this machine tells of its power")
    assert measure_idle(LocalRunner(), 60.0) == []


def test_a_tegrastats_without_rails_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    last = (SENSORS / "tegrastats.txt").read_text().splitlines()[-1]
    program = tmp_path / "tegrastats"
    program.write_text(f"#!/bin/sh\necho '{last}'\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(telemetry, "Sampler", _Silent)
    telemetry.print_idle(30.0)
    assert capsys.readouterr().out == ""


class _Silent:
    """Takes samples of a machine whose power nothing tells."""

    counts_energy = False
    taken = 0

    def take(self, pids: Any, tegra: Any) -> dict[str, Any]:
        self.taken += 1
        assert self.taken <= 20, "it waits for a sensor that has told that it does not tell"
        return {"power_w": None}


def test_what_else_an_idle_device_prints_is_no_sample() -> None:
    class Chatty(LocalRunner):
        def run(self, args, timeout, on_line=None):
            return Completed(tuple(args), 0, 'hello\n{"t": 1.0, "power_w": {"rapl/x": 5.0}}\n{broken\n', "")

    begun: list[str] = []
    found = measure_idle(Chatty(), 60.0, 5, lambda: begun.append("idle"))
    assert found == [{"t": 1.0, "power_w": {"rapl/x": 5.0}}] and begun == ["idle"]


def test_a_run_too_short_for_its_energy_needs_no_idle_power() -> None:
    begun: list[str] = []
    for seconds, blocks in ((10.0, 1), (30.0, 1), (34.0, 5)):
        assert measure_idle(LocalRunner(), seconds, blocks, lambda: begun.append("idle")) == []
    assert begun == []


def test_the_result_of_a_run_holds_its_telemetry(job: Job, tiny: BenchProfile) -> None:
    (result,) = measure([job], tiny, LocalRunner())
    assert any(sample["rss_kb"] for sample in result.telemetry)
    assert result.energy is None
    assert result.memory and result.memory.pss_steady
    assert (result.memory.device_peak is None) == (result.memory.device_method is None)
    assert BenchResult.model_validate_json(result.model_dump_json()) == result
    older = json.loads(result.model_dump_json())
    for name in ("telemetry", "energy"):
        del older[name]
    for name in ("pss_steady", "device_peak", "device_method"):
        del older["memory"][name]
    assert BenchResult.model_validate(older).telemetry == ()
