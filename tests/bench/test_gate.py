"""The gate on simulated machines: its error rates, its order, each verdict, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.bench.decision import LOOKS, Decision, decide
from edgeprune.bench.gate import Rules, default_tau, run_gate
from edgeprune.bench.gate_result import AccuracyPair, GateResult
from edgeprune.bench.pairs import GATE_BLOCK, check_comparable, on_runner
from edgeprune.bench.result import Job, WorkerReport
from edgeprune.errors import CompileError, ConfigError, NotComparableError
from edgeprune.runners.local import LocalRunner
from simulated import Machine, make_job

MIB = 1.048576


def _gate(
    machine: Machine, tau: float = 0.05, accuracy: AccuracyPair | None = None, **rules: Any
) -> GateResult:
    return run_gate(make_job("a"), make_job("b"), Rules(tau, **rules), machine, accuracy=accuracy)


def _decided(ratios: np.ndarray, tau: float = 0.05) -> Decision:
    for look in LOOKS:
        decision = decide(ratios[:look].tolist(), tau)
        if decision.verdict:
            return decision
    raise AssertionError("the last look has to decide")


@pytest.mark.parametrize("noise", ["normal", "heavy tails", "slow process", "drift"])
def test_error_rates_on_simulated_noise(noise: str) -> None:
    random = np.random.default_rng(11)

    def pairs(effect: float) -> np.ndarray:
        base = random.normal(0, 0.02, 20)
        if noise == "heavy tails":
            base = 0.012 * random.standard_t(3, 20)
        elif noise == "slow process":  # now and then a process is 20 % slow, on either side
            base += 0.2 * (random.integers(-1, 2, 20) * (random.random(20) < 0.1))
        elif noise == "drift":  # balanced order turns a steady drift into an alternating error
            base += 0.02 * np.tile([1, -1], 10)
        return base + math.log1p(effect)

    runs = 1000
    same = [_decided(pairs(0.0)).verdict for _ in range(runs)]
    worse = [_decided(pairs(0.10)).verdict for _ in range(runs)]
    assert same.count("fail") / runs <= 0.005
    assert worse.count("pass") / runs <= 0.005
    assert worse.count("fail") / runs >= 0.95


@given(st.lists(st.floats(-0.5, 0.5), min_size=20, max_size=20), st.floats(0.01, 0.2))
@settings(max_examples=50)
def test_a_decision_keeps_to_its_rule(ratios: list[float], tau: float) -> None:
    for look in LOOKS:
        decision = decide(ratios[:look], tau)
        assert decision.lower <= float(np.mean(ratios[:look])) + 1e-12
        assert decision.upper >= float(np.mean(ratios[:look])) - 1e-12
        fails = decision.median >= math.log1p(tau) and decision.lower > 0
        assert (decision.verdict == "fail") == fails
        assert (decision.verdict == "pass") == (not fails and decision.upper < math.log(1.05))
        if look == LOOKS[-1]:
            assert decision.verdict is not None


def test_there_is_no_look_between_the_looks() -> None:
    with pytest.raises(ValueError, match="not 7"):
        decide([0.0] * 7, 0.05)


def test_equal_sides_pass_at_the_first_look(make_block) -> None:
    result = _gate(Machine(make_block, a=10.0, b=10.0))
    assert result.verdict == "pass"
    assert len(result.pairs) == LOOKS[0]
    assert {metric.name: metric.verdict for metric in result.metrics} == {
        "p50 latency": "pass",
        "fps": "pass",
        "p90 latency": "advisory",
        "peak memory": "pass",
    }


def test_ten_percent_slower_fails_and_says_by_how_much(make_block) -> None:
    result = _gate(Machine(make_block, a=10.0, b=11.0))
    assert result.verdict == "fail"
    assert any(reason.startswith("p50 latency: +") for reason in result.reasons)


def test_ten_percent_faster_passes(make_block) -> None:
    assert _gate(Machine(make_block, a=11.0, b=10.0)).verdict == "pass"


def test_a_wild_machine_is_inconclusive_after_all_pairs(make_block) -> None:
    result = _gate(Machine(make_block, noise=0.4, a=10.0, b=10.2))
    assert result.verdict == "inconclusive"
    assert len(result.pairs) == LOOKS[-1]


def test_the_order_is_balanced(make_block) -> None:
    machine = Machine(make_block, noise=0.4, a=10.0, b=10.2)
    result = _gate(machine)
    orders = [pair.order for pair in result.pairs]
    assert orders == ["AB", "BA"] * 10
    assert "".join(machine.calls).upper() == "".join(orders)


def test_stalls_between_queries_fail_on_fps(make_block) -> None:
    machine = Machine(make_block, a=10.0, b=10.0)

    def stalling(jobs: Sequence[Job], scenario: Any) -> list[WorkerReport]:
        return [stalled(job, machine.answer(job, scenario)) for job in jobs]

    def stalled(job: Job, report: WorkerReport) -> WorkerReport:
        if job.name == "a" or report.block is None:
            return report
        elapsed = round(report.block.elapsed_ns * 1.2)
        return report.model_copy(update={"block": report.block.model_copy(update={"elapsed_ns": elapsed})})

    result = run_gate(make_job("a"), make_job("b"), Rules(), stalling)
    assert result.verdict == "fail"
    assert [metric.name for metric in result.metrics if metric.verdict == "fail"] == ["fps"]


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [
        (100.0, 101.9, "pass"),  # within 2 %
        (50.0, 50.0 + 1.9 * MIB, "pass"),  # more than 2 %, within 2 MiB
        (100.0, 103.0, "fail"),
        (100.0, 60.0, "pass"),
    ],
)
def test_memory_fails_above_both_limits(make_block, before: float, now: float, verdict: str) -> None:
    machine = Machine(make_block, a=10.0, b=10.0)
    machine.peak_mb = {"a": before, "b": now}
    assert _gate(machine).verdict == verdict


@pytest.mark.parametrize(("candidate", "verdict"), [(0.58, "pass"), (0.571, "pass"), (0.56, "fail")])
def test_accuracy_is_gated_when_it_is_known(make_block, candidate: float, verdict: str) -> None:
    machine = Machine(make_block, a=10.0, b=10.0)
    accuracy = AccuracyPair(baseline=0.58, candidate=candidate, max_drop=0.01)
    assert _gate(machine, accuracy=accuracy).verdict == verdict


def test_a_disturbed_pair_is_kept_and_run_again(make_block) -> None:
    machine = Machine(make_block, a=10.0, b=10.0)
    machine.disturb = 3
    result = _gate(machine)
    assert result.verdict == "pass"
    assert [bool(pair.disturbed_by) for pair in result.pairs] == [True, True] + [False] * LOOKS[0]


def test_a_machine_that_is_never_quiet_is_inconclusive(make_block) -> None:
    machine = Machine(make_block, a=10.0, b=20.0)
    machine.disturb = 10_000
    result = _gate(machine)
    assert result.verdict == "inconclusive"
    assert "disturbed (contended)" in result.reasons[0]


def test_a_fine_tau_has_to_be_earned(make_block) -> None:
    with pytest.raises(ConfigError, match=r"tau 3\.0% is finer than this machine can tell"):
        _gate(Machine(make_block, noise=0.05, a=10.0, b=10.0), tau=0.03)
    assert _gate(Machine(make_block, noise=0.001, a=10.0, b=10.4), tau=0.03).verdict == "fail"


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("runtime version", {"version": "2.0"}),
        ("input shape", {"inputs": {"n": 16, "shape": [1, 3, 64, 64], "sha256": ""}}),
        ("device", {"env_before": {"cpu": "another", "machine": "none"}}),
    ],
)
def test_sides_that_differ_are_refused_unless_told_to(make_block, key: str, changes: dict[str, Any]) -> None:
    machine = Machine(make_block, a=10.0, b=10.0)
    machine.report["b"] = changes
    with pytest.raises(NotComparableError, match=f"differ in {key}"):
        _gate(machine)
    machine.report["b"] = changes if key != "device" else {}
    assert _gate(machine, force=True).verdict == "pass"


def test_precisions_are_compared_by_what_really_ran(make_block) -> None:
    machine = Machine(make_block, a=10.0, b=10.0)
    with pytest.raises(NotComparableError, match="asked for: int8, really used: fp32"):
        run_gate(make_job("a"), make_job("b", "int8"), Rules(), machine)
    with pytest.raises(NotComparableError, match="differ in precision: fp32 and int8"):
        check_comparable({"precision": "fp32"}, {"precision": "int8"})


def test_wrong_outputs_are_no_matter_of_speed(make_block) -> None:
    machine = Machine(make_block, a=10.0, b=10.0)
    machine.block = {"output_ok": False, "output_error": 0.2}
    with pytest.raises(CompileError, match=r"relative L2 error 0\.2"):
        _gate(machine)


def test_a_gate_result_survives_its_file(make_block) -> None:
    result = _gate(Machine(make_block, a=10.0, b=10.0))
    assert GateResult.model_validate_json(result.model_dump_json()) == result


def test_the_gate_runs_real_workers(job: Job, tiny) -> None:
    measure = on_runner(LocalRunner(), tiny)
    (report,) = measure([job], "single_stream")
    assert report.block is not None
    assert len(report.block.samples_ns) >= 20
    assert GATE_BLOCK.warmup_s >= 2


@pytest.mark.parametrize(
    ("clocks", "tau"),
    [
        ({"cpu0": ("2000", "2000"), "cpu1": ("800", "2000")}, 0.03),
        ({"cpu0": ("800", "2000"), "cpu1": ("2000", "2000")}, 0.05),
        ({}, 0.05),
    ],
)
def test_the_default_tau_is_finer_only_where_the_clocks_of_the_cores_in_use_are_locked(
    clocks: dict[str, tuple[str, str]], tau: float
) -> None:
    frequency = {
        core: {"scaling_min_freq": low, "scaling_max_freq": high} for core, (low, high) in clocks.items()
    }
    assert default_tau({"affinity": [0], "frequency": frequency or None}) == tau
