"""The scenarios run for real on a tiny network: fresh processes, their own figures, any runner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeprune.bench.effort import PROFILES, BenchProfile
from edgeprune.bench.scenario_runs import measure_setup
from edgeprune.bench.setup import CAMERA_RATES, Setup, without_model_cache
from edgeprune.core.errors import DeviceError
from edgeprune.records.bench_result import BenchResult, Job, load_result, save_result
from edgeprune.runners.devices import runner_for
from edgeprune.runners.local import LocalRunner
from sshd import Device

SHORT = BenchProfile(
    blocks=2, min_queries=20, min_seconds=0.05, warmup_s=0.0, warmup_cap_s=0.1, cold_runs=3, timeout_s=120.0
)


def _measured(job: Job, setup: Setup) -> BenchResult:
    (result,) = measure_setup([job], setup, SHORT, LocalRunner())
    assert {"fallback", "output_mismatch"}.isdisjoint(flag.code for flag in result.flags)
    return result


def test_paced_has_a_result_for_each_rate(job: Job, tmp_path: Path) -> None:
    fast, slow = measure_setup([job], Setup("paced", fps=(200.0, 100.0)), SHORT, LocalRunner())
    assert (fast.name, slow.name) == ("tiny fp32 paced 200 FPS", "tiny fp32 paced 100 FPS")
    for result, rate in ((fast, 200.0), (slow, 100.0)):
        assert result.scenario.name == "paced" and result.scenario.fps_target == rate
        assert len({block.pid for block in result.blocks}) == 2
        assert result.fps is not None and result.fps.target == rate
        assert 0 < result.fps.achieved <= rate * 1.001
        assert result.fps.deadline_miss_pct is not None
        for block in result.blocks:
            assert len(block.starts_ns) == len(block.samples_ns) >= 10
            assert block.frames is not None and block.frames >= 10
    assert [block.order for block in fast.blocks] == [0, 2]
    assert [block.order for block in slow.blocks] == [1, 3]
    assert load_result(save_result(fast, tmp_path / "paced.json")) == fast


def test_throughput_keeps_several_in_flight_and_compares_them(job: Job, tmp_path: Path) -> None:
    result = _measured(job, Setup("throughput", in_flight=3))
    assert result.name == "tiny fp32 throughput x3"
    assert result.scenario.in_flight == 3
    for block in result.blocks:
        assert block.cross_talk == 0 and block.output_ok
        assert len(block.samples_ns) >= 10
    assert result.memory is not None and result.fps is not None
    assert load_result(save_result(result, tmp_path / "throughput.json")) == result


def test_sustained_tells_minutes_and_memory(job: Job, tmp_path: Path) -> None:
    result = _measured(job.model_copy(update={"memory_every_s": 0.02}), Setup("sustained", seconds=0.5))
    (minute,) = result.minutes
    assert minute.p50_ms is not None and minute.rss_mb is not None and minute.rss_mb > 10
    assert result.growth is not None and result.growth.leak is None  # half a second tells nothing
    assert sum(len(block.samples_ns) for block in result.blocks) > 100
    assert load_result(save_result(result, tmp_path / "sustained.json")) == result


def test_cold_starts_fresh_processes_and_names_the_caches(job: Job, tmp_path: Path) -> None:
    result = _measured(job, Setup("cold"))
    assert result.blocks == () and result.fps is None
    assert len(result.cold_runs) == 3 == len(result.scenario.file_cache)
    assert all(run.load > 0 and run.first_infer > 0 for run in result.cold_runs)
    assert result.cold_ms is not None
    assert result.cold_ms.load == sorted(run.load for run in result.cold_runs)[1]
    assert result.scenario.file_cache[0].engine_cached_before is not None
    assert load_result(save_result(result, tmp_path / "cold.json")) == result


def test_a_cold_start_of_another_engine_is_refused(job: Job) -> None:
    with pytest.raises(DeviceError, match=r"tiny fp32 cold: .*its sha256 differs"):
        _measured(job.model_copy(update={"engine_sha256": "0" * 64}), Setup("cold"))


def test_openvino_tells_compiling_apart(job: Job) -> None:
    result = _measured(
        job.model_copy(update={"backend": "openvino", "options": {"INFERENCE_PRECISION_HINT": "f32"}}),
        Setup("cold"),
    )
    assert result.cold_ms is not None and result.cold_ms.compile is not None
    assert 0 < result.cold_ms.compile < result.cold_ms.load


def test_a_cold_start_keeps_no_compiled_model(job: Job) -> None:
    cached = job.model_copy(
        update={
            "options": {"CACHE_DIR": "/tmp/x", "NUM_STREAMS": "1"},
            "environment": {"ORT_TENSORRT_ENGINE_CACHE_ENABLE": "1", "OMP_WAIT_POLICY": "passive"},
        }
    )
    found = without_model_cache(cached)
    assert found.options == {"NUM_STREAMS": "1"}
    assert found.environment == {"OMP_WAIT_POLICY": "passive"}


def test_progress_is_in_seconds_and_ends_at_the_last(job: Job) -> None:
    seen: list[tuple[float, int, str]] = []
    measure_setup(
        [job], Setup("throughput", in_flight=2), SHORT, LocalRunner(), lambda *step: seen.append(step)
    )
    done = [step[0] for step in seen]
    assert done == sorted(done) and done[0] == 0
    assert seen[-1][2] == "done"
    assert round(done[-1]) == seen[-1][1]
    assert "throughput x2, block 2 of 2" in seen[1][2]


def test_a_scenario_runs_on_a_device_behind_ssh(job: Job, device: Device) -> None:
    with runner_for(device.address()) as runner:
        (result,) = measure_setup([job], Setup("paced", fps=(200.0,)), SHORT, runner)
    assert result.fps is not None and result.fps.achieved > 0
    assert all(block.output_ok for block in result.blocks)


def test_a_worker_gone_wrong_names_the_run(job: Job, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"junk")
    wrong = job.model_copy(update={"engine": str(broken)})
    with pytest.raises(DeviceError, match=r"tiny fp32 throughput x2: .*cannot load this graph"):
        measure_setup([wrong], Setup("throughput", in_flight=2), SHORT, LocalRunner())


def test_the_defaults_are_those_of_the_protocol(job: Job) -> None:
    assert CAMERA_RATES == (30, 10, 5)
    assert [run.fps for run in Setup("paced").jobs([job])] == [30, 10, 5]
    sustained = Setup("sustained").plan(PROFILES["sustained"])
    assert (sustained.blocks, sustained.min_seconds) == (1, 600)
    assert Setup("cold").plan(PROFILES["standard"]).blocks == PROFILES["standard"].cold_runs == 20
    shorter = Setup("throughput", in_flight=2, seconds=3600).plan(PROFILES["standard"])
    assert (shorter.blocks, shorter.min_queries, shorter.min_seconds) == (5, 5, 3600)
    assert shorter.timeout_s > 3600


def test_a_result_of_before_the_scenarios_still_loads(job: Job, tmp_path: Path) -> None:
    result = _measured(job, Setup())
    old = json.loads(save_result(result, tmp_path / "new.json").read_text())
    for key in ("cold_runs", "latency_ms", "stages_ms", "fps", "minutes", "growth"):
        del old[key]
    del old["cold_ms"]["compile"]
    for block in old["blocks"]:
        for key in (
            "starts_ns",
            "frames",
            "missed",
            "cross_talk",
            "cross_talk_error",
            "resident",
            "resident_method",
        ):
            del block[key]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old))
    assert load_result(path).blocks == result.blocks
