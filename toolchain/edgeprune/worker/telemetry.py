"""Telemetry beside the workers: a process of its own on the device that samples its sensors at a low rate.

``python -m edgeprune.worker.telemetry OUT.jsonl`` writes one line of JSON a sample and ends with whoever
started it: its standard input closes then. Each line there is the number of a process to watch. It keeps off
the cores that the watched processes may use where there are others, and says in each sample whether it does.
Standard library only, like the worker.

``python -m edgeprune.worker.telemetry idle SECONDS`` prints samples of a machine that is left alone; nothing,
and at once, where no sensor tells of power.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from edgeprune.core.documents import parse_json
from edgeprune.core.errors import DeviceError
from edgeprune.core.files import read_bytes
from edgeprune.core.processes import own_python
from edgeprune.worker.sensors import cpu, memory, nvidia, tegrastats, thermal, throttling
from edgeprune.worker.sensors.files import ROOT, Ask, said_by
from edgeprune.worker.sensors.power import PowerReader

HZ = 1.0
SUFFIX = ".telemetry.jsonl"
# Tells a worker that the process which started it has telemetry already, and in which file.
VARIABLE = "EDGEPRUNE_TELEMETRY"
END_WITHIN_S = 5.0
_FIRST_WITHIN_S, _LOOK_S = 5.0, 0.02
_LOADS = ("gpu_load_pct", "gpu_mhz", "emc_load_pct", "emc_mhz")  # what no other sensor tells


class Beside:
    """Telemetry that runs beside this process.

    Attributes:
        path: JSON Lines file that the samples are in.
    """

    def __init__(self, path: Path, told: IO[str] | None) -> None:
        self.path = path
        self._told = told

    def watch(self, pid: int) -> None:
        """Let it sample the memory of a process, and keep off its cores."""
        if self._told:
            with contextlib.suppress(OSError):  # it has ended; a measurement goes on without it
                self._told.write(f"{pid}\n")
                self._told.flush()

    def samples(self, pid: int) -> list[dict[str, Any]]:
        """Return the samples so far, each with the resident memory (``rss_kb``) of one process.

        A run that was over before the first sample waits for that one.
        """
        own, deadline = str(pid), time.monotonic() + _FIRST_WITHIN_S
        while True:
            found = [s | {"rss_kb": (s.get("rss_kb") or {}).get(own)} for s in read_samples(self.path)]
            seen = any(sample["rss_kb"] for sample in found)
            if seen or self._told is None or time.monotonic() > deadline:
                return found
            time.sleep(_LOOK_S)


@contextlib.contextmanager
def beside(out: str) -> Iterator[Beside]:
    """Run telemetry until the block is left, into the file `out` + `SUFFIX`.

    A process whose parent runs one already gets that one. What cannot be started is left out: no measurement
    fails for want of telemetry.
    """
    running = os.environ.get(VARIABLE)
    if running:
        yield Beside(Path(running), None)
        return
    path = Path(out + SUFFIX)
    command = own_python("edgeprune.worker.telemetry", str(path))
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:
        yield Beside(path, None)
        return
    os.environ[VARIABLE] = str(path)
    try:
        yield Beside(path, process.stdin)
    finally:
        del os.environ[VARIABLE]
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError):
        if process.stdin:
            process.stdin.close()
    try:
        process.wait(END_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Return the samples of a JSON Lines file; a last line that was cut off by a kill is left out."""
    try:
        return parse_samples(read_bytes(path, DeviceError).decode(errors="replace"))
    except DeviceError:
        return []


def parse_samples(text: str) -> list[dict[str, Any]]:
    """Return the samples of JSON Lines; a line that is none is left out."""
    samples = []
    for line in text.splitlines():
        with contextlib.suppress(DeviceError):
            sample = parse_json(line, "telemetry", DeviceError)
            if isinstance(sample, dict):
                samples.append(sample)
    return samples


def read_unfinished(path: Path) -> list[dict[str, Any]]:
    """Return the samples that a killed worker left; ``rss_kb`` is its own where it was the only one."""
    left = []
    for sample in read_samples(path):
        resident = list((sample.get("rss_kb") or {}).values())
        left.append(sample | {"rss_kb": resident[0] if len(resident) == 1 else None})
    return left


class Sampler:
    """Takes samples of one machine.

    Args:
        root: folder that the machine's files lie in.
        ask: runs one of the machine's own programs and returns what it prints, or None.
    """

    def __init__(self, root: Path = ROOT, ask: Ask = said_by) -> None:
        self._root = root
        self._ask = ask
        self._allowed = os.sched_getaffinity(0)
        self._power = PowerReader(root)

    @property
    def counts_energy(self) -> bool:
        """Whether the last sample found energy counters: the next one tells the power since."""
        return self._power.counts

    def take(self, pids: Sequence[int], tegra: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return a sample; the mean power since the last one where the sensor is an energy counter.

        Args:
            pids: the processes that are measured.
            tegra: what `tegrastats` last told.

        Returns:
            ``t`` (seconds since the epoch), ``off_cores``, ``temp_c`` by zone or GPU, ``khz`` by measured
            core, ``power_w`` by sensor and rail, ``throttle`` by sensor, ``rss_kb`` by process, ``tegra``;
            None for what is not told.
        """
        cores = _cores_of(pids)
        gpus = nvidia.read_gpus() or []
        resident = {str(pid): memory.read_status("VmRSS", pid, self._root) for pid in pids}
        return {
            "t": time.time(),
            "off_cores": keep_off(cores, self._allowed) if cores else None,
            "temp_c": self._temperatures(gpus) or None,
            "khz": cpu.read_khz(cores, self._root),
            "power_w": self._power.read(gpus, tegra) or None,
            "throttle": self._throttle(gpus) or None,
            "rss_kb": {pid: kb for pid, kb in resident.items() if kb is not None} or None,
            "tegra": tegra and {key: tegra[key] for key in _LOADS},
        }

    def _temperatures(self, gpus: Sequence[dict[str, Any]]) -> dict[str, float]:
        of_gpus = {
            f"nvml/{index}": gpu["temp_c"] for index, gpu in enumerate(gpus) if gpu["temp_c"] is not None
        }
        return (thermal.read_temperatures(self._root) or {}) | of_gpus

    def _throttle(self, gpus: Sequence[dict[str, Any]]) -> dict[str, Any]:
        slowed = [gpu["slowdown"] for gpu in gpus if gpu["slowdown"] is not None]
        told = {
            "throttle_events": throttling.read_core_events(self._root),
            "pi_throttled": throttling.read_pi_throttled(self._root, self._ask),
            "overcurrent_events": throttling.read_overcurrent_events(self._root),
            "gpu_slowdown": max(slowed) if slowed else None,
        }
        return {sensor: state for sensor, state in told.items() if state is not None}


def keep_off(cores: set[int], allowed: set[int]) -> bool:
    """Keep this process to the allowed cores that are not among `cores`; return whether there are any."""
    others = allowed - cores
    with contextlib.suppress(OSError):  # one of them went offline
        os.sched_setaffinity(0, others or allowed)
    return bool(others)


def _cores_of(pids: Sequence[int]) -> set[int]:
    cores: set[int] = set()
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended
            cores |= os.sched_getaffinity(pid)
    return cores


class _Tegrastats:
    """NVIDIA's own program, where there is one: it tells the loads of GPU and memory without being root."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                ["tegrastats", "--interval", str(round(1000 / HZ))],  # noqa: S607  # wherever JetPack has it
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
            )
        self.last: dict[str, Any] | None = None

    @property
    def lines(self) -> list[IO[str]]:
        """What to wait for."""
        return [self._process.stdout] if self._process and self._process.stdout else []

    def read(self) -> None:
        """Take in one line."""
        for stream in self.lines:
            line = stream.readline()
            self.last = tegrastats.parse_tegrastats(line) or self.last
            if not line:
                self.stop()

    def stop(self) -> None:
        """End it."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


def record(path: Path) -> None:
    """Write samples to a file until standard input ends, watching the processes that are named there."""
    sampler, tegra = Sampler(), _Tegrastats()
    pids: list[int] = []
    due = time.monotonic()
    try:
        with path.open("w", encoding="utf-8") as out:
            while True:
                wait = max(0.0, due - time.monotonic())
                ready, _, _ = select.select([sys.stdin.buffer, *tegra.lines], [], [], wait)
                if sys.stdin.buffer in ready:
                    named = os.read(sys.stdin.fileno(), 1 << 16)
                    if not named:
                        return
                    pids += [int(word) for word in named.split()]
                elif ready:
                    tegra.read()
                else:
                    out.write(json.dumps(sampler.take(pids, tegra.last)) + "\n")
                    out.flush()
                    due = max(due + 1 / HZ, time.monotonic())  # a machine that slept does not catch up
    finally:
        tegra.stop()


def print_idle(seconds: float) -> None:
    """Print samples of the machine as it is, one a line; none where no sensor tells of power."""
    sampler, tegra = Sampler(), _Tegrastats()
    try:
        for taken in range(round(seconds * HZ) + 1):
            if select.select(tegra.lines, [], [], 1 / HZ if taken else 0.1)[0]:
                tegra.read()
            sample = sampler.take((), tegra.last)
            still_to_tell = tegra.lines and tegra.last is None
            if not (sample["power_w"] or sampler.counts_energy or still_to_tell):
                return
            if sample["power_w"]:  # of a counter only from the second sample on
                print(json.dumps(sample), flush=True)
    finally:
        tegra.stop()


def main(argv: Sequence[str]) -> int:
    """Record telemetry, or print it while the machine is idle; return the exit status."""
    if argv[0] == "idle":
        print_idle(float(argv[1]))
    else:
        record(Path(argv[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
