"""Minutes of queries on a clock that runs ahead: a planted leak is found, and none where there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeprune.bench.derived import minutes_of, resident_growth
from edgeprune.records.bench_result import Job, WorkerReport
from edgeprune.worker.environment import Resident
from edgeprune.worker.scenarios.sustained import stream

ROOT = Path(__file__).resolve().parents[3]
FASTER = 250  # five minutes in 1.2 s
SCRIPT = f"""
import functools, json, sys, time
from benchmarks.leaky_worker import Leaking
from edgeprune.backends import onnxruntime
from edgeprune.worker import benchmark
from edgeprune.worker.scenarios import SCENARIOS, sustained

clock = lambda: time.perf_counter_ns() * {FASTER}
SCENARIOS["sustained"] = functools.partial(sustained.run, clock=clock)
load = onnxruntime.load
if sys.argv[3] == "leak":
    onnxruntime.load = lambda *how: Leaking(load(*how), 8.0, clock)
sys.exit(benchmark.main(sys.argv[1:3]))
"""


class Ticking:
    """A clock that moves by the latency of each query."""

    def __init__(self, latency_ns: int) -> None:
        self.now, self.latency_ns, self.seen = 0, latency_ns, 0

    def clock(self) -> int:
        return self.now

    def __call__(self, images: Any) -> list[Any]:
        self.now += self.latency_ns
        self.seen += 1
        return []


def _streamed(latency_ms: int, seconds: float, resident: Any) -> dict[str, Any]:
    session = Ticking(latency_ms * 1_000_000)
    return stream(session, [None] * 3, seconds, 1_000_000_000, session.clock, resident)  # type: ignore[arg-type,list-item]


def test_samples_and_memory_come_with_their_time() -> None:
    found = _streamed(100, 125.0, lambda: Resident(5000, 4000, "/proc/self/smaps_rollup"))
    assert found["samples_ns"] == [100_000_000] * 1250
    assert found["starts_ns"] == [100_000_000 * index for index in range(1250)]
    assert found["elapsed_ns"] == 125_000_000_000
    assert [row[0] for row in found["resident"]] == [1_000_000_000 * second for second in range(125)]
    assert found["resident"][7] == [7_000_000_000, 5000, 4000]
    assert found["resident_method"].startswith("/proc/self/smaps_rollup")


def test_what_the_kernel_does_not_tell_is_none() -> None:
    assert _streamed(100, 3.0, lambda: Resident(5000, None, "/proc/self/statm"))["resident"][0][2] is None
    found = _streamed(100, 3.0, lambda: None)
    assert (found["resident"], found["resident_method"]) == ([], None)


def test_a_network_that_gets_faster_loses_no_sample() -> None:
    session = Ticking(1_000_000_000)

    def quicker(images: Any) -> list[Any]:
        outputs = session(images)
        session.latency_ns = 1_000_000 if session.seen > 15 else session.latency_ns
        return outputs

    found = stream(quicker, [None], 60.0, 10**9, session.clock, lambda: None)  # type: ignore[arg-type,list-item]
    assert len(found["samples_ns"]) == session.seen - 10 > 50_000


@pytest.mark.parametrize(("planted", "leak"), [("leak", True), ("none", False)])
def test_a_leak_in_a_real_worker_is_found_and_none_is_reported_without(
    job: Job, tmp_path: Path, planted: str, leak: bool
) -> None:
    short = {"scenario": "sustained", "warmup_s": 0.0, "warmup_cap_s": 0.1, "min_seconds": 300.0}
    path, out = tmp_path / "job.json", tmp_path / "out.json"
    path.write_text(job.model_copy(update=short).model_dump_json())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), str(out), planted],
        env={"PYTHONPATH": f"{ROOT}/toolchain:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    block = WorkerReport.model_validate(json.loads(out.read_text())).block
    assert block is not None and block.output_ok
    minutes = minutes_of(block)
    assert [minute.minute for minute in minutes] == [1, 2, 3, 4, 5]
    growth = resident_growth(block)
    assert growth is not None
    assert growth.leak is leak, growth
    if leak:
        assert growth.mb_per_minute == pytest.approx(8.0, rel=0.25)
