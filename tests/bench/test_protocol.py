"""The harness run for real on a tiny network: fresh processes, evidence, one line for a worker gone wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.bench import protocol
from edgeprune.bench.effort import PROFILES, BenchProfile
from edgeprune.bench.jobs import build_job, write_inputs
from edgeprune.bench.partial import head
from edgeprune.bench.protocol import measure, round_order, run_workers
from edgeprune.bench.side_by_side import speedup
from edgeprune.bench.statistics import achieved_fps, latency_ms
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact, Built
from edgeprune.core.errors import DataError, DeviceError
from edgeprune.core.resources import find_bundled
from edgeprune.records.bench_result import BenchResult, Job, load_result, save_result
from edgeprune.records.facts import BuiltOn
from edgeprune.runners.local import LocalRunner
from edgeprune.worker import benchmark as worker
from simulated import Machine, make_job

MakeBlock = Callable[..., Any]


@pytest.fixture(scope="module")
def results(job: Job, convnet_int8: Path) -> tuple[BenchResult, ...]:
    int8 = job.model_copy(
        update={
            "name": "tiny int8",
            "engine": str(convnet_int8),
            "engine_sha256": Artifact.of(convnet_int8, "engine", "int8").sha256,
            "precision": "int8",
            "reference": None,
        }
    )
    plan = BenchProfile(blocks=2, min_queries=40, min_seconds=0.05, warmup_s=0.0, warmup_cap_s=0.5)
    return measure([job, int8], plan, LocalRunner())


def test_every_block_is_a_fresh_process_and_jobs_take_turns(results: tuple[BenchResult, ...]) -> None:
    blocks = [block for result in results for block in result.blocks]
    assert len({block.pid for block in blocks} | {os.getpid()}) == 5
    assert [[block.order for block in result.blocks] for result in results] == [[0, 2], [1, 3]]


def test_turns_are_told_with_what_each_query_waited(results: tuple[BenchResult, ...]) -> None:
    for block in (block for result in results for block in result.blocks):
        assert sum(block.turns) == len(block.samples_ns) and min(block.turns) >= 4
        assert len(block.waits_ns) in (0, len(block.samples_ns))  # 0: this kernel keeps no account
        assert all(wait >= 0 for wait in block.waits_ns)
    found = speedup(*results)
    assert found and found.turns == sum(
        min(len(one.turns), len(other.turns))
        for one, other in zip(results[0].blocks, results[1].blocks, strict=True)
    )


def test_the_samples_are_raw_and_enough(results: tuple[BenchResult, ...]) -> None:
    for result in results:
        for block in result.blocks:
            assert len(block.samples_ns) >= 20
            assert block.elapsed_ns >= 0.025e9
            assert sum(block.samples_ns) <= block.elapsed_ns
            assert block.warmup_n >= 10
        assert latency_ms(result).n == sum(len(block.samples_ns) for block in result.blocks)
        assert 0 < achieved_fps(result.blocks) <= 1000 / latency_ms(result).min


def test_the_evidence_tells_what_really_ran(results: tuple[BenchResult, ...]) -> None:
    fp32, int8 = results
    assert fp32.backend.precision_actual == "fp32"
    assert fp32.backend.quantized_ops == 0
    assert int8.backend.precision_actual == "int8"
    assert int8.backend.quantized_ops == 2
    assert fp32.backend.provider_actual == "CPUExecutionProvider"
    assert fp32.backend.threads == 1
    assert fp32.backend.delegated_pct == 100 and fp32.backend.left is None
    assert fp32.scenario.inputs.n == 16
    assert fp32.scenario.inputs.shape == (1, 3, 32, 32)
    assert all(block.output_ok and block.output_error == 0 for block in fp32.blocks)
    assert all(block.output_ok is None for block in int8.blocks)
    assert fp32.cold_ms is not None
    assert fp32.cold_ms.load > 0
    assert fp32.env_before["variables"]["OMP_NUM_THREADS"] == "1"
    assert not {flag.code for flag in fp32.flags} & {"fallback", "output_mismatch"}


def test_peak_memory_is_the_workers_own(results: tuple[BenchResult, ...]) -> None:
    for result in results:
        assert result.memory is not None
        assert 10 < result.memory.baseline_hwm <= result.memory.load_hwm <= result.memory.peak_hwm
        assert result.memory.method.startswith("VmHWM")


def test_peak_memory_does_not_inherit_the_parents(job: Job, tiny: BenchProfile) -> None:
    ballast = np.ones(80_000_000, np.float32)  # 320 MB
    (report,) = run_workers([job], "memory", tiny, LocalRunner())
    assert report.memory is not None
    assert report.memory.peak_hwm < ballast.nbytes / 1e6


def test_peak_memory_is_of_as_many_queries_at_once_as_are_in_flight() -> None:
    together = threading.Barrier(3)

    def session(images: np.ndarray) -> list[np.ndarray]:
        together.wait(30)  # one after the other they would wait in vain
        return [images]

    peak = worker._PeakMemory()
    found = peak.after([session] * 3, np.zeros(1, np.float32))  # type: ignore[list-item]
    assert found["peak_hwm"] >= found["baseline_hwm"]


def test_a_result_survives_its_file(results: tuple[BenchResult, ...], tmp_path: Path) -> None:
    for result in results:
        assert load_result(save_result(result, tmp_path / "result.json")) == result


def test_an_engine_that_computes_something_else_is_flagged(job: Job, tmp_path: Path) -> None:
    with np.load(str(job.reference)) as stored:
        np.savez(tmp_path / "other.npz", out0=stored["out0"] * 1.01)
    plan = BenchProfile(blocks=1, min_queries=20, min_seconds=0.01, warmup_s=0.0, warmup_cap_s=0.5)
    wrong = job.model_copy(update={"reference": str(tmp_path / "other.npz")})
    (result,) = measure([wrong], plan, LocalRunner())
    (flag,) = (flag for flag in result.flags if flag.code == "output_mismatch")
    assert flag.severity == "invalid"
    assert "relative L2 error 0.0099" in flag.evidence
    assert not result.valid


def test_an_int8_row_without_integer_convolutions_is_a_fallback(job: Job) -> None:
    plan = BenchProfile(blocks=1, min_queries=20, min_seconds=0.01, warmup_s=0.0, warmup_cap_s=0.5)
    (result,) = measure([job.model_copy(update={"precision": "int8"})], plan, LocalRunner())
    (flag,) = (flag for flag in result.flags if flag.code == "fallback")
    assert flag.evidence == "precision asked for: int8, really used: fp32"


def test_progress_counts_every_process(job: Job, tiny: BenchProfile) -> None:
    seen: list[tuple[int, int, str]] = []
    measure([job], tiny, LocalRunner(), lambda *step: seen.append(step))
    assert list(dict.fromkeys(done for done, _, _ in seen)) == [0, 1, 2, 3]
    assert {total for _, total, _ in seen} == {3}
    assert [text.split(",")[0] for done, _, text in seen if done == 1] == ["block 1 of 2", "block 2 of 2"]


@given(st.integers(1, 6), st.integers(0, 6))
def test_every_round_holds_every_job_once(jobs: int, block: int) -> None:
    assert sorted(round_order(list(range(jobs)), block)) == list(range(jobs))  # type: ignore[arg-type]


def test_two_jobs_take_the_first_turn_alike() -> None:
    rounds = [tuple(round_order(["a", "b", "c"], block)) for block in range(6)]  # type: ignore[list-item]
    first = Counter(order[0] for order in rounds)
    assert max(first.values()) - min(first.values()) <= 2
    assert len(set(rounds)) > 3


def test_jobs_share_the_time_in_turns(job: Job, tmp_path: Path) -> None:
    short = {"min_queries": 20, "min_seconds": 0.0, "warmup_s": 0.0, "warmup_cap_s": 0.0, "turn_queries": 2}
    paths = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.json"
        path.write_text(job.model_copy(update={"name": name, **short}).model_dump_json())
        paths += [str(path), str(tmp_path / f"{name}.out")]
    LocalRunner().run((sys.executable, "-m", "edgeprune.worker.turns", *paths), 120)
    one, other = (json.loads(Path(path).read_text())["block"] for path in paths[1::2])
    assert one["pid"] != other["pid"]
    assert len(one["samples_ns"]) == len(other["samples_ns"]) == 20
    # Each began before the other had ended: its ten turns lie between those of the other.
    assert abs(one["t_start"] - other["t_start"]) < 60
    assert one["elapsed_ns"] >= sum(one["samples_ns"])


def test_a_worker_that_dies_beside_another_is_named(job: Job, tiny: BenchProfile, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"junk")
    digest = Artifact.of(broken, "engine", "fp32").sha256
    other = job.model_copy(update={"name": "other", "engine": str(broken), "engine_sha256": digest})
    with pytest.raises(DeviceError, match=r"other: exited with code 5: .*cannot load this graph"):
        measure([job, other], tiny, LocalRunner())


def test_the_profiles_are_those_of_the_protocol() -> None:
    quick, standard = PROFILES["quick"], PROFILES["standard"]
    assert (quick.blocks, quick.min_queries, quick.min_seconds) == (1, 128, 10)
    assert (standard.blocks, standard.min_queries, standard.min_seconds) == (5, 1024, 60)
    assert all((p.warmup_iterations, p.warmup_s, p.warmup_cap_s) == (10, 2, 30) for p in PROFILES.values())


class Misbehaving(LocalRunner):
    """A device where the interpreter is something else than it says: real processes, wrong answers."""

    def __init__(self, code: str) -> None:
        self.code = code

    def run(self, args, timeout, on_line=None):
        return super().run((sys.executable, "-c", self.code, *args[3:]), timeout, on_line)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise MemoryError('no more')", "exited with code 1: MemoryError: no more"),
        ("import os; os.abort()", "killed by SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL (out of memory?)"),
        ("import sys; open(sys.argv[2], 'w').write('{\"pid\": ')", "answered with garbage"),
        ("import sys; open(sys.argv[2], 'w').write('{}')", "answered with garbage"),
        ("import sys; open(sys.argv[2], 'wb').write(bytes([0xff] * 9))", "answered with garbage"),
        ("pass", "cannot be read: No such file"),
        ("import time; time.sleep(600)", "no answer within 1 s"),
    ],
)
def test_a_worker_gone_wrong_is_one_line_with_the_row_named(job: Job, code: str, says: str) -> None:
    plan = BenchProfile(blocks=1, min_queries=1, min_seconds=0.0, timeout_s=1.0 if "sleep" in code else 60.0)
    with pytest.raises(DeviceError) as caught:
        run_workers([job], "single_stream", plan, Misbehaving(code))
    message = str(caught.value)
    assert message.startswith("tiny fp32: ")
    assert says in message
    assert "\n" not in message


def test_rows_in_turns_may_take_as_long_as_one_by_one(job: Job, tiny: BenchProfile) -> None:
    class Asked(LocalRunner):
        def run(self, args, timeout, on_line=None):
            raise DeviceError(f"{timeout:g}")

    rows = [job.model_copy(update={"name": name}) for name in "abc"]
    with pytest.raises(DeviceError, match=f"^{3 * tiny.timeout_s:g}$"):
        run_workers(rows, "single_stream", tiny, Asked())


def test_a_worker_refuses_an_engine_it_was_not_meant_for(job: Job, tiny: BenchProfile) -> None:
    with pytest.raises(DeviceError, match=r"exited with code 3: .*its sha256 differs"):
        run_workers(
            [job.model_copy(update={"engine_sha256": "0" * 64})], "single_stream", tiny, LocalRunner()
        )


def test_a_broken_engine_is_one_line(job: Job, tiny: BenchProfile, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"junk")
    with pytest.raises(DeviceError, match=r"exited with code 5: .*cannot load this graph"):
        run_workers([job.model_copy(update={"engine": str(broken)})], "cold", tiny, LocalRunner())


@pytest.mark.parametrize("scenario", ["single_stream", "memory"])
def test_a_worker_loads_no_training_framework(job: Job, tmp_path: Path, scenario: str) -> None:
    path, out = tmp_path / "job.json", tmp_path / "out.json"
    short = {"scenario": scenario, "min_queries": 1, "min_seconds": 0.0, "warmup_s": 0.0, "warmup_cap_s": 0.0}
    path.write_text(job.model_copy(update=short).model_dump_json())
    code = (
        "import sys; from edgeprune.worker.benchmark import main; status = main(sys.argv[1:]); "
        "print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules})); sys.exit(status)"
    )
    done = LocalRunner().run((sys.executable, "-c", code, str(path), str(out)), 120)
    loaded = set(done.stdout.split("LOADED")[1].split())
    assert {"numpy", "onnxruntime"} <= loaded
    assert not loaded & {"torch", "pydantic", "ultralytics", "scipy", "click", "openvino"}
    assert json.loads(out.read_text())["version"]


def test_inputs_have_to_be_many_and_distinct(random_images: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 distinct images"):
        write_inputs(np.zeros((32, 3, 8, 8), np.float32), tmp_path / "inputs.npy")
    with pytest.raises(DataError, match="float64"):
        write_inputs(random_images.astype(np.float64), tmp_path / "inputs.npy")
    assert not (tmp_path / "inputs.npy").exists()


def test_a_job_carries_the_profiles_options_for_its_precision(convnet: Path) -> None:
    (profile,) = resolve_targets(("x86-openvino",), "x86_64")
    jobs = {
        precision: build_job(
            "row", Artifact.of(convnet, "engine", precision), profile, threads=2, inputs=Path("inputs.npy")
        )
        for precision in ("fp32", "bf16")
    }
    assert jobs["fp32"].options == {"INFERENCE_PRECISION_HINT": "f32"}
    assert jobs["bf16"].options == {"INFERENCE_PRECISION_HINT": "bf16"}
    assert jobs["bf16"].threads == 2


def test_a_result_tells_what_its_engine_was_made_of_and_which_code_measured_it(convnet: Path) -> None:
    (profile,) = resolve_targets(("x86-ort",), "x86_64")
    built = Built("a CPU", "x86_64", "onnxruntime 1.32.0", 0.25)
    engine = Artifact.of(convnet, "engine", "fp32", parent="ab" * 32, built=built)
    job = build_job("row", engine, profile, threads=1, inputs=Path("inputs.npy"))
    told = head(job, "run", datetime(2026, 1, 1, tzinfo=timezone.utc))
    facts = told["artifact"]
    assert (facts.parent, facts.sha256, facts.build_s) == ("ab" * 32, engine.sha256, 0.25)
    assert facts.built_on == BuiltOn(device="a CPU", arch="x86_64", runtime="onnxruntime 1.32.0")
    root = find_bundled("targets").parent
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    expected = asked.stdout.strip() if (root / ".git").exists() and not asked.returncode else ""
    assert (told["tool"].commit or "").removesuffix("-dirty") == expected


LONG = BenchProfile(blocks=3, min_queries=1, min_seconds=0.0, calm_s=7.0)


class Crowded(Machine):
    """A device on which others take half of a core in the rounds that it is told, and a third in others."""

    def __init__(self, make_block: MakeBlock, foreign: Sequence[float]) -> None:
        super().__init__(make_block, a=10.0, b=5.0)
        self.foreign, self.plans = iter(foreign), list[BenchProfile]()

    def run(self, jobs: Sequence[Job], scenario: str, plan: BenchProfile, *_: Any, **__: Any) -> Any:
        if scenario == "single_stream":
            self.plans.append(plan)
            self.block = {"foreign": next(self.foreign)}
        return self(jobs, scenario)


def crowded(monkeypatch: pytest.MonkeyPatch, make_block: MakeBlock, *foreign: float) -> tuple[Any, Any]:
    machine = Crowded(make_block, foreign)
    monkeypatch.setattr(protocol, "run_workers", machine.run)
    return measure([make_job("a"), make_job("b")], LONG, LocalRunner()), machine.plans


def test_a_round_that_others_disturbed_is_run_again_once_the_machine_is_calm(
    monkeypatch: pytest.MonkeyPatch, make_block: MakeBlock
) -> None:
    (one, other), plans = crowded(monkeypatch, make_block, 0.0, 0.4, 0.0, 0.05)
    for result in (one, other):
        assert [block.foreign for block in result.blocks] == [0.0, 0.0, 0.05]
        assert [block.foreign for block in result.disturbed] == [0.4]
        assert "contended" not in {flag.code for flag in result.flags}
    assert [plan.calm_s for plan in plans] == [0.0, 0.0, 7.0, 7.0]
    assert sorted(block.order for block in (*one.blocks, *other.blocks)) == [0, 1, 4, 5, 6, 7]


def test_where_it_never_is_calm_the_least_disturbed_rounds_count_and_are_flagged(
    monkeypatch: pytest.MonkeyPatch, make_block: MakeBlock
) -> None:
    (one, other), plans = crowded(monkeypatch, make_block, 0.5, 0.3, 0.6, 0.2, 0.4, 0.7)
    assert len(plans) == 2 * LONG.blocks
    assert [block.foreign for block in one.blocks] == [0.3, 0.2, 0.4]
    assert len(one.disturbed) == 3 and "contended" in {flag.code for flag in one.flags}
    found = speedup(one, other)
    assert found and found.claim.startswith("at least ")
