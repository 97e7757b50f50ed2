"""The gate on the command line: what is compared, the exit code of each verdict, and what is printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeprune.bench import gate
from edgeprune.bench.gate import GateResult, Metric
from edgeprune.bench.result import Job
from edgeprune.errors import NotComparableError


def a_result(verdict: str) -> GateResult:
    return GateResult(
        verdict=verdict,  # type: ignore[arg-type]
        tau=0.05,
        metrics=(
            Metric(name="p50 latency", verdict=verdict, evidence="+11.0% time over 5 pairs"),  # type: ignore[arg-type]
            Metric(name="peak memory", verdict="pass", evidence="9.0 MB before, 9.0 MB now"),
        ),
        pairs=(),
        baseline={"name": "baseline"},
        candidate={"name": "candidate"},
    )


@pytest.fixture
def gated(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Any]]:
    """Return a function that makes the gate end with a verdict, and the list of what it was asked."""

    def ending(verdict: str) -> list[Any]:
        calls: list[Any] = []

        def run_gate(baseline: Job, candidate: Job, tau: float, measure: Any, **options: Any) -> GateResult:
            calls.append((baseline, candidate, tau, options))
            return a_result(verdict)

        monkeypatch.setattr(gate, "run_gate", run_gate)
        return calls

    return ending


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("fail", 10), ("inconclusive", 8)])
def test_the_exit_code_is_the_verdict(gated: Any, run: Any, convnet: Path, verdict: str, code: int) -> None:
    gated(verdict)
    ended = run("check", "--baseline", convnet, "--candidate", convnet)
    assert ended.code == code
    assert f": {verdict.upper()} after 0 pairs" in ended.stdout
    assert "+11.0% time over 5 pairs" in ended.stdout
    if verdict == "pass":
        assert ended.errors == []
    else:
        assert ended.error == f"edgeprune: {convnet}: p50 latency: +11.0% time over 5 pairs"


def test_json_is_all_that_is_printed_whatever_the_verdict(gated: Any, run: Any, convnet: Path) -> None:
    gated("fail")
    ended = run("check", "--baseline", convnet, "--candidate", convnet, "--json")
    assert ended.code == 10
    (entry,) = json.loads(ended.stdout).values()
    assert GateResult.model_validate(entry) == a_result("fail")


def test_the_options_reach_the_gate(gated: Any, run: Any, convnet: Path, convnet_int8: Path) -> None:
    calls = gated("pass")
    ended = run(
        *("check", "--baseline", convnet, "--candidate", convnet_int8),
        *("--tau", "0.1", "--threads", "2", "--force"),
    )
    assert ended.code == 0
    ((baseline, candidate, tau, options),) = calls
    assert (baseline.name, candidate.name) == ("baseline", "candidate")
    assert (baseline.engine, candidate.engine) == (str(convnet), str(convnet_int8))
    assert (baseline.threads, tau, options["force"], options["accuracy"]) == (2, 0.1, True, None)


def test_two_builds_are_compared_by_their_chosen_rows_with_their_accuracy(
    gated: Any, run: Any, built: Any
) -> None:
    calls = gated("pass")
    ended = run("check", "--baseline", built.out, "--candidate", built.out, "--max-drop", "0.02")
    assert ended.code == 0, ended.errors
    chosen = {name: target["chosen"] for name, target in built.summary["targets"].items() if target["chosen"]}
    assert len(calls) == len(chosen) > 0
    for (baseline, candidate, _, options), row in zip(calls, chosen.values(), strict=True):
        assert baseline.engine_sha256 == candidate.engine_sha256 == row["sha256"]
        assert baseline.environment == row["environment"]
        accuracy = options["accuracy"]
        assert accuracy.baseline == accuracy.candidate == row["val"]["map50_95"]
        assert accuracy.max_drop == 0.02


def test_an_int8_engine_is_not_comparable_to_a_float_one(run: Any, convnet: Path, convnet_int8: Path) -> None:
    ended = run("check", "--baseline", convnet, "--candidate", convnet_int8)
    assert ended.code == 6
    assert ended.error.endswith("the baseline and the candidate differ in precision: fp32 and int8")


def test_what_is_no_build_and_no_engine_is_refused(run: Any, convnet: Path, tmp_path: Path) -> None:
    ended = run("check", "--baseline", tmp_path, "--candidate", convnet)
    assert ended.code == 6 and "no finished build is here" in ended.error
    ended = run("check", "--baseline", convnet, "--candidate", tmp_path / "gone.onnx")
    assert ended.code == 3 and "gone.onnx" in ended.error


def test_sides_without_a_target_in_common_are_not_comparable(run: Any, convnet: Path, tmp_path: Path) -> None:
    from edgeprune.artifact import Artifact
    from edgeprune.backends import get_backend
    from edgeprune.device import resolve_targets

    profile = next(entry for entry in resolve_targets(("cpu",)) if entry.backend == "openvino")
    ir = get_backend("openvino").compile(Artifact.of(convnet, "onnx", "fp32"), profile, "fp32", tmp_path)
    ended = run("check", "--baseline", convnet, "--candidate", ir.path)
    assert ended.code == 6
    assert "have no target in common" in ended.error


def test_an_error_of_the_gate_ends_with_its_own_code(
    run: Any, convnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*arguments: object, **options: object) -> GateResult:
        raise NotComparableError("first line\nsecond line")

    monkeypatch.setattr(gate, "run_gate", refusing)
    ended = run("check", "--baseline", convnet, "--candidate", convnet)
    assert ended.code == 6
    assert ended.error == "edgeprune: first line second line"
