"""Which cores a worker is kept to, on layouts of real CPUs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.worker.affinity import best_cores, unlike
from edgeprune.worker.sensors.cpu import HYBRID_KINDS
from recorded import Record, Recorded


def _cpu(
    device: Recorded, siblings: Sequence[str] = (), capacity: Sequence[int] = (), kinds: str = ""
) -> Path:
    """Lay out a CPU: the threads of each core's core, the capacities, and ``P cores;E cores``."""
    for core, shared in enumerate(siblings):
        device.write(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list", f"{shared}\n")
    for core, value in enumerate(capacity):
        device.write(f"/sys/devices/system/cpu/cpu{core}/cpu_capacity", f"{value}\n")
    for kind, cores in zip(HYBRID_KINDS, kinds.split(";") if kinds else (), strict=False):
        device.write(f"/sys/devices/{kind}/cpus", f"{cores}\n")
    return device.root


# Layout, allowed cores, threads -> cores. The RK3588's capacities follow from its device tree: 530 at 1.8 GHz
# beside 1024 at 2.3 GHz. Others are those that the kernel gives such CPUs.
PI_5 = {"siblings": ["0", "1", "2", "3"]}
ORIN_NX = {"siblings": [str(core) for core in range(8)], "capacity": [1024] * 8}
RK3588 = {"siblings": [str(core) for core in range(8)], "capacity": [414] * 4 + [1024] * 4}
SNAPDRAGON_8 = {"capacity": [325] * 4 + [828] * 3 + [1024]}  # little, big, prime
DIMENSITY = {"capacity": [1024, *[850] * 3, *[300] * 4]}  # the other way round
LAPTOP_SMT = {"siblings": ["0,4", "1,5", "2,6", "3,7"] * 2}
SERVER_SMT = {"siblings": [f"{core // 2 * 2}-{core // 2 * 2 + 1}" for core in range(8)]}
# 12900K: 8 P cores with two threads, 8 E cores.
ALDER_LAKE = {
    "siblings": [f"{core // 2 * 2}-{core // 2 * 2 + 1}" for core in range(16)]
    + [str(c) for c in range(16, 24)],
    "kinds": "0-15;16-23",
}
# Since kernel 6.12: favoured P cores have a capacity of their own, and are not another kind for that.
LUNAR_LAKE = {"capacity": [1009, 1009, 1024, 1024, *[623] * 4], "kinds": "0-3;4-7"}

TOPOLOGIES = [
    ("Pi 5", PI_5, range(4), 1, {3}),
    ("Pi 5", PI_5, range(4), 4, {0, 1, 2, 3}),
    ("Jetson Orin NX", ORIN_NX, range(8), 4, {4, 5, 6, 7}),
    ("Jetson Orin NX, four cores off", ORIN_NX, range(4), 4, {0, 1, 2, 3}),
    ("RK3588", RK3588, range(8), 1, {7}),
    ("RK3588", RK3588, range(8), 4, {4, 5, 6, 7}),
    ("RK3588, more threads than big cores", RK3588, range(8), 5, {3, 4, 5, 6, 7}),
    ("RK3588, little cores allowed", RK3588, range(4), 2, {2, 3}),
    ("Snapdragon 8", SNAPDRAGON_8, range(8), 1, {7}),
    ("Snapdragon 8", SNAPDRAGON_8, range(8), 4, {4, 5, 6, 7}),
    ("Dimensity", DIMENSITY, range(8), 1, {0}),
    ("Dimensity", DIMENSITY, range(8), 4, {0, 1, 2, 3}),
    ("laptop with SMT", LAPTOP_SMT, range(8), 1, {7}),
    ("laptop with SMT", LAPTOP_SMT, range(8), 4, {4, 5, 6, 7}),
    ("laptop with SMT", LAPTOP_SMT, range(8), 6, {2, 3, 4, 5, 6, 7}),
    ("laptop with SMT", LAPTOP_SMT, range(8), 9, set(range(8))),
    ("server with SMT", SERVER_SMT, range(8), 2, {5, 7}),
    ("server with SMT", SERVER_SMT, range(8), 4, {1, 3, 5, 7}),
    ("server with SMT, one thread a core", SERVER_SMT, (0, 2, 4, 6), 2, {4, 6}),
    ("Alder Lake", ALDER_LAKE, range(24), 1, {15}),
    ("Alder Lake", ALDER_LAKE, range(24), 8, set(range(1, 16, 2))),
    ("Alder Lake, second threads before E cores", ALDER_LAKE, range(24), 10, {*range(1, 16, 2), 12, 14}),
    ("Alder Lake, E cores allowed", ALDER_LAKE, range(16, 24), 4, {20, 21, 22, 23}),
    ("Lunar Lake", LUNAR_LAKE, range(8), 4, {0, 1, 2, 3}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "allowed", "threads", "cores"),
    [row[1:] for row in TOPOLOGIES],
    ids=[f"{name}-{threads}" for name, _, _, threads, _ in TOPOLOGIES],
)
def test_the_cores_of_a_layout(nothing: Recorded, layout, allowed, threads, cores) -> None:
    assert best_cores(threads, allowed, _cpu(nothing, **layout)) == cores


def test_the_cores_of_recorded_devices(recorded: Record) -> None:
    assert best_cores(4, range(8), recorded("snapdragon-850").root) == {4, 5, 6, 7}
    assert best_cores(2, range(6), recorded("pinebook-pro").root) == {4, 5}
    assert best_cores(8, range(16), recorded("ryzen-7840u").root) == set(range(8, 16))
    assert best_cores(4, range(24), recorded("alder-lake").root) == {12, 13, 14, 15}
    assert best_cores(1, range(2), recorded("cloud-vm").root) == {1}


@given(st.sets(st.integers(0, 63), min_size=1), st.integers(1, 80))
def test_cores_are_allowed_ones_and_as_many_as_threads(allowed: set[int], threads: int) -> None:
    cores = best_cores(threads, allowed, Path("/nonexistent"))
    assert cores <= allowed
    assert len(cores) == min(threads, len(allowed))


@given(st.lists(st.sampled_from([300, 800, 1024]), min_size=1, max_size=8), st.integers(1, 8))
def test_no_core_is_taken_before_a_more_capable_one(capacity: list[int], threads: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        cores = best_cores(threads, range(len(capacity)), _cpu(Recorded(Path(folder)), capacity=capacity))
    left = [value for core, value in enumerate(capacity) if core not in cores]
    assert min(capacity[core] for core in cores) >= max(left, default=0)


def test_cores_are_unlike_by_kind_or_else_by_capacity_or_else_by_clock() -> None:
    capacities = {"cpu0": "1009", "cpu1": "1024", "cpu2": "623"}
    assert unlike([0, 1], {"kinds": None, "capacity": capacities}) == ("capacity", ["1009", "1024"])
    kinds = {"cpu0": "cpu_core", "cpu1": "cpu_core", "cpu2": "cpu_atom"}
    assert unlike([0, 1], {"kinds": kinds, "capacity": capacities}) == ("kind", ["cpu_core"])
    assert unlike([1, 2], {"kinds": kinds}) == ("kind", ["cpu_atom", "cpu_core"])
    assert unlike([0, 1], {"kinds": None, "capacity": None})[1] == []
    clocks = {f"cpu{core}": {"cpuinfo_max_freq": str(khz)} for core, khz in enumerate(ZEN_5)}
    same = {"cpu0": "1024", "cpu1": "1024"}
    assert unlike([0, 11], {"frequency": clocks, "capacity": same}) == ("up to", ["3303 MHz", "5157 MHz"])
    assert unlike([0, 3], {"frequency": clocks}) == ("up to", ["5157 MHz"])
    # The format of files of earlier versions, and what a core that is off tells.
    assert unlike([0, 1], {"frequency": {"cpu0": {}, "cpu1": {"cpuinfo_max_freq": None}}})[1] == []


# Made up by AMD's data sheet of the Ryzen AI 9 HX 370: four cores of Zen 5 before eight of Zen 5c, kHz.
ZEN_5 = (5157895, 5157895, 5100000, 5157895, *8 * [3303030])


def test_compact_cores_are_told_by_their_clock_and_taken_last(nothing: Recorded) -> None:
    for core, khz in enumerate(ZEN_5):
        nothing.write(f"/sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq", f"{khz}\n")
    assert best_cores(1, range(12), nothing.root) == {3}
    assert best_cores(4, range(12), nothing.root) == {0, 1, 2, 3}
    assert best_cores(6, range(12), nothing.root) == {0, 1, 2, 3, 10, 11}


def test_favoured_cores_of_one_kind_are_alike(nothing: Recorded) -> None:
    for core, khz in enumerate((5300000, 5300000, 5000000, 5000000)):  # made up: Turbo Boost Max 3.0
        nothing.write(f"/sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq", f"{khz}\n")
    assert best_cores(1, range(4), nothing.root) == {3}


def test_a_process_that_pins_itself_stays_there() -> None:
    code = "import os; from edgeprune.worker.affinity import pin; pin(1); print(len(os.sched_getaffinity(0)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "1\n"
    )
