"""The comparison with other stopwatches: both take turns on one core, and the vendor's tool is its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import agreement
from edgeprune.backends import get_backend, options_for
from edgeprune.bench.subject import make_job, subjects_of
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError
from edgeprune.records.bench_result import Job


@pytest.fixture
def job(convnet: Path) -> Job:
    """Return a job; what is run in its place are scripts."""
    return Job(
        name="row", backend="onnxruntime", engine=str(convnet), engine_sha256="0", precision="fp32",
        threads=1, options={}, inputs="inputs.npy",
    )  # fmt: skip


def test_benchmark_app_and_a_worker_time_the_same_engine_in_turns(convnet: Path, tmp_path: Path) -> None:
    profile = next(one for one in resolve_targets(("cpu",)) if one.backend == "openvino")
    engine = get_backend("openvino").compile(
        Artifact.of(convnet, "onnx", "fp32"), "fp32", options_for(profile, "fp32"), tmp_path / "engine"
    )
    (subject,) = subjects_of(engine.path)
    (folder := tmp_path / "job").mkdir()
    found = agreement.compared(subject, make_job(subject, 1, folder), Path("no loop"), 2, folder)
    assert found["ours_ms"] > 0 and found["theirs_ms"] > 0
    assert found["stopwatch"] == "benchmark_app" and found["cost_us"] >= 0
    assert len(json.loads((folder / "report.json").read_text())["block"]["samples_ns"]) == 8


TAKES_TURNS = """
import sys
name = sys.argv[1]
print('{"phase": "ready"}', flush=True)
for line in sys.stdin:
    with open("order.txt", "a") as order:
        order.write(name)
    print('{"phase": "turn"}', flush=True)
print("the end of", name)
"""


def test_neither_always_comes_first(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = agreement.in_turns([[sys.executable, "-c", TAKES_TURNS, name] for name in "AB"], job, turns=3)
    assert (tmp_path / "order.txt").read_text() == "ABBAAB"
    assert [lines[-1] for lines in said] == ["the end of A\n", "the end of B\n"]


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("print('no such option'); raise SystemExit(3)", "exited with 3: no such option"),
        ("print('nothing to do')", "ended before its time"),
    ],
)
def test_a_stopwatch_that_fails_is_one_line(job: Job, tmp_path: Path, script: str, error: str) -> None:
    (tmp_path / "broken.py").write_text(script)
    with pytest.raises(CompileError, match=f"^broken.py {error}$"):
        agreement.in_turns([[sys.executable, str(tmp_path / "broken.py")]], job, turns=1)


def test_the_difference_is_the_median_of_the_rounds_with_its_interval() -> None:
    rounds = [
        {"row": "r", "stopwatch": "C loop", "ours_ms": 10 + step, "theirs_ms": 10.0, "cost_us": 9.0}
        for step in (-1, -0.5, 0, 0.1, 0.2, 0.5, 1, 9)
    ]
    found = agreement.summed(rounds)
    assert found["difference"] == pytest.approx(0.015)
    low, high = found["interval"]
    assert low == pytest.approx(-0.1) and high == pytest.approx(0.9)
