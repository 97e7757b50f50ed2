"""Which cores a worker is kept to, on recorded layouts of real CPUs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.bench.affinity import best_cores


def _cpu(folder: Path, siblings: list[str], capacity: list[int] | None = None) -> Path:
    for core, shared in enumerate(siblings):
        topology = folder / f"cpu{core}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{shared}\n")
        if capacity:
            (folder / f"cpu{core}" / "cpu_capacity").write_text(f"{capacity[core]}\n")
    return folder


@pytest.mark.parametrize(
    ("threads", "cores"),
    [
        (1, {7}),
        (2, {6, 7}),
        (4, {4, 5, 6, 7}),
        (6, {2, 3, 4, 5, 6, 7}),
        (8, set(range(8))),
        (9, set(range(8))),
    ],
)
def test_halves_of_one_core_come_last(tmp_path: Path, threads: int, cores: set[int]) -> None:
    # As an Intel laptop numbers them: cpu0 and cpu4 are one core, cpu1 and cpu5 the next.
    cpu = _cpu(tmp_path, ["0,4", "1,5", "2,6", "3,7"] * 2)
    assert best_cores(threads, range(8), cpu) == cores


def test_the_capable_cores_of_an_rk3588_come_first(tmp_path: Path) -> None:
    cpu = _cpu(tmp_path, [str(core) for core in range(8)], [414] * 4 + [1024] * 4)
    assert best_cores(4, range(8), cpu) == {4, 5, 6, 7}
    assert best_cores(5, range(8), cpu) == {3, 4, 5, 6, 7}
    assert best_cores(1, range(4), cpu) == {3}


@given(st.sets(st.integers(0, 63), min_size=1), st.integers(1, 80))
def test_cores_are_allowed_ones_and_as_many_as_threads(allowed: set[int], threads: int) -> None:
    cores = best_cores(threads, allowed, Path("/nonexistent"))
    assert cores <= allowed
    assert len(cores) == min(threads, len(allowed))


def test_a_process_that_pins_itself_stays_there() -> None:
    code = "import os; from edgeprune.bench.affinity import pin; pin(1); print(len(os.sched_getaffinity(0)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "1\n"
    )
