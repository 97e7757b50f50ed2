"""The gate on the command line: what is compared, the exit code of each verdict, and what is printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from edgeprune.core.errors import DeviceError, NotComparableError
from edgeprune.gate import pairs
from edgeprune.gate import run as gate
from edgeprune.gate.result import GateResult, MetricVerdict
from edgeprune.gate.run import Rules
from edgeprune.records.bench_result import Job
from edgeprune.records.summary import load_summary, save_summary
from edgeprune.report.gate import FORMATS
from edgeprune.runners import remote
from made_builds import write_build


def a_result(verdict: str) -> GateResult:
    return GateResult(
        verdict=verdict,  # type: ignore[arg-type]
        tau=0.05,
        metrics=(
            MetricVerdict(name="p50 latency", verdict=verdict, evidence="+11.0% time over 5 pairs"),  # type: ignore[arg-type]
            MetricVerdict(name="peak memory", verdict="pass", evidence="9.0 MB before, 9.0 MB now"),
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

        def run_gate(baseline: Job, candidate: Job, rules: Rules, measure: Any, **options: Any) -> GateResult:
            calls.append((baseline, candidate, rules, options))
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
    ((baseline, candidate, rules, options),) = calls
    assert (baseline.name, candidate.name) == ("baseline", "candidate")
    assert (baseline.engine, candidate.engine) == (str(convnet), str(convnet_int8))
    assert (baseline.threads, rules.tau, rules.force, options["accuracy"]) == (2, 0.1, True, None)


def test_two_builds_are_compared_by_their_chosen_rows_with_their_accuracy(
    gated: Any, run: Any, built: Any
) -> None:
    calls = gated("pass")
    ended = run("check", "--baseline", built.out, "--candidate", built.out, "--max-drop", "0.02")
    assert ended.code == 0, ended.errors
    chosen = {name: target["chosen"] for name, target in built.summary["targets"].items() if target["chosen"]}
    assert len(calls) == len(chosen) > 0
    for row in chosen.values():
        stored = f"p50 {row['p50_ms']:.4g} ms of the baseline, {row['p50_ms']:.4g} ms of the candidate"
        assert f"note: stored with the build: {stored}; not gated on" in ended.stdout
    for (baseline, candidate, _, options), row in zip(calls, chosen.values(), strict=True):
        assert baseline.engine_sha256 == candidate.engine_sha256 == row["sha256"]
        assert baseline.environment == row["environment"]
        accuracy = options["accuracy"]
        assert accuracy.baseline == accuracy.candidate == row["val"]["score"]
        assert accuracy.max_drop == 0.02
        assert (accuracy.drop_interval, accuracy.images) == ((0, 0), row["val"]["images"])


def test_resamples_that_are_gone_leave_the_drop_alone_and_damaged_ones_are_an_error(
    gated: Any, run: Any, built: Any
) -> None:
    calls = gated("pass")
    chosen = next(target["chosen"] for target in built.summary["targets"].values() if target["chosen"])
    kept = built.out / chosen["evaluated"] / "val.resampled.json"
    content = kept.read_text()
    try:
        kept.write_text(content[:99])
        ended = run("check", "--baseline", built.out, "--candidate", built.out)
        assert (ended.code, calls) == (3, []) and "val.resampled.json" in ended.error
        kept.unlink()
        assert run("check", "--baseline", built.out, "--candidate", built.out).code == 0
        assert None in [options["accuracy"].drop_interval for *_, options in calls]
    finally:
        kept.write_text(content)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"images": 4}, "the number of images of their accuracy: 4 and 5"),
        ({"split": "train"}, "the split of their accuracy: train and val"),
        ({"metric": "top-1"}, "the metric of their accuracy: top-1 and mAP50-95"),
    ],
)
def test_scores_on_other_images_are_not_compared_unless_by_force(
    gated: Any, run: Any, convnet: Path, tmp_path: Path, change: dict[str, Any], what: str
) -> None:
    calls = gated("pass")
    before, after = (write_build(tmp_path / side, {"x86-ort": {"fp32": convnet}}) for side in "ab")
    summary = load_summary(before)
    entry = summary.targets["x86-ort"]
    assert entry.chosen is not None and entry.chosen.val is not None
    chosen = entry.chosen.model_copy(update={"val": entry.chosen.val.model_copy(update=change)})
    targets = {"x86-ort": entry.model_copy(update={"rows": (chosen,), "chosen": chosen})}
    save_summary(summary.model_copy(update={"targets": targets}), before)

    ended = run("check", "--baseline", before, "--candidate", after)
    assert (ended.code, calls) == (6, [])
    assert ended.error.endswith(f"the baseline and the candidate differ in {what}")

    assert run("check", "--baseline", before, "--candidate", after, "--force").code == 0
    ((*_, options),) = calls
    assert (options["accuracy"].baseline, options["accuracy"].candidate) == (None, 0.5)


def test_an_int8_engine_is_not_comparable_to_a_float_one(run: Any, convnet: Path, convnet_int8: Path) -> None:
    ended = run("check", "--baseline", convnet, "--candidate", convnet_int8)
    assert ended.code == 6
    assert ended.error.endswith("the baseline and the candidate differ in precision: fp32 and int8")


def test_what_is_no_build_and_no_engine_is_refused(run: Any, convnet: Path, tmp_path: Path) -> None:
    ended = run("check", "--baseline", tmp_path, "--candidate", convnet)
    assert ended.code == 3 and "nothing to measure is here" in ended.error
    ended = run("check", "--baseline", convnet, "--candidate", tmp_path / "gone.onnx")
    assert ended.code == 3 and "gone.onnx" in ended.error


def test_sides_without_a_target_in_common_are_not_comparable(run: Any, convnet: Path, tmp_path: Path) -> None:
    from edgeprune.backends import get_backend
    from edgeprune.core.artifact import Artifact

    ir = get_backend("openvino").compile(Artifact.of(convnet, "onnx", "fp32"), "fp32", {}, tmp_path)
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


def test_reports_are_written_whatever_the_verdict(
    gated: Any, run: Any, convnet: Path, tmp_path: Path
) -> None:
    gated("fail")
    xml, page = tmp_path / "check.xml", tmp_path / "check.md"
    ended = run(
        *("check", "--baseline", convnet, "--candidate", convnet),
        *("--report", f"junit={xml}", "--report", f"markdown={page}"),
    )
    assert ended.code == 10
    assert ET.parse(xml).getroot().find("testsuite/testcase/failure") is not None
    assert page.read_text(encoding="utf-8").startswith("## edgeprune check: ❌ fail\n")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--device", "nowhere"), 3),
        (("--device", "ssh://nobody@127.0.0.1:1"), 4),
        (("--candidate", "gone.onnx"), 3),
        (("--budget", "fsp>=30"), 3),
    ],
)
def test_a_check_that_ends_in_an_error_leaves_reports_that_say_so(
    run: Any,
    convnet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, str],
    code: int,
) -> None:
    monkeypatch.setattr(remote, "BACKOFF_S", ())
    files = {name: tmp_path / f"check.{name}" for name in FORMATS}
    for name, file in files.items():
        file.write_text(f"<{name}> of the run before")
    reports = [word for name, file in files.items() for word in ("--report", f"{name}={file}")]
    ended = run("check", "--baseline", convnet, "--candidate", convnet, *options, *reports)
    assert (ended.code, ended.stdout) == (code, "")
    said = ended.error.removeprefix("edgeprune: ")
    failure = json.loads(files["json"].read_text())["error"]
    assert (failure["message"], failure["exit_code"]) == (said, code)
    (suite,) = ET.parse(files["junit"]).getroot()
    (case,) = suite.findall("testcase")
    error = case.find("error")
    assert error is not None and (suite.get("errors"), error.get("message")) == ("1", said)
    assert files["markdown"].read_text(encoding="utf-8").startswith("## edgeprune check: ❌ error\n")
    assert files["github"].read_text().startswith("::error title=edgeprune check%3A error::")
    assert not [name for name, file in files.items() if "of the run before" in file.read_text()]


def test_while_it_runs_and_when_it_is_killed_the_reports_say_that_there_is_no_verdict(
    run: Any, convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object, **options: object) -> GateResult:
        raise KeyboardInterrupt

    monkeypatch.setattr(gate, "run_gate", killed)
    xml = tmp_path / "check.xml"
    xml.write_text("of the run before")
    ended = run("check", "--baseline", convnet, "--candidate", convnet, "--report", f"junit={xml}")
    assert ended.code == 130
    error = ET.parse(xml).getroot().find("testsuite/testcase/error")
    assert error is not None and "has not ended" in error.get("message", "")


def test_a_report_that_cannot_be_written_is_told_before_anything_is_measured(
    gated: Any, run: Any, convnet: Path, tmp_path: Path
) -> None:
    calls = gated("pass")
    (tmp_path / "file").write_text("")
    ended = run(
        *("check", "--baseline", convnet, "--candidate", convnet),
        *("--report", f"junit={tmp_path / 'file' / 'check.xml'}"),
    )
    assert ended.code == 3 and "check.xml: a part of the path is a file, not a folder" in ended.error
    assert calls == []


def test_an_error_loses_no_target_that_was_judged(
    run: Any, built: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[str] = []

    def run_gate(baseline: Job, *arguments: object, **options: object) -> GateResult:
        if judged:
            raise DeviceError("board: it is gone")
        judged.append(baseline.engine)
        return a_result("pass")

    monkeypatch.setattr(gate, "run_gate", run_gate)
    page = tmp_path / "check.json"
    ended = run("check", "--baseline", built.out, "--candidate", built.out, "--report", f"json={page}")
    assert (ended.code, ended.error) == (4, "edgeprune: board: it is gone")
    assert ": PASS after 0 pairs" in ended.stdout
    told = json.loads(page.read_text())
    assert told.pop("error") == {"kind": "DeviceError", "message": "board: it is gone", "exit_code": 4}
    assert [GateResult.model_validate(entry).metrics for entry in told.values()] == [a_result("pass").metrics]


@pytest.mark.parametrize(
    "option", [("--report", "junt=a.xml"), ("--budget", "fsp>=30"), ("--budget", "top1>=0.5")]
)
def test_what_cannot_be_judged_or_written_is_refused_before_anything_is_measured(
    run: Any, convnet: Path, option: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measuring(*_: object) -> Any:
        raise AssertionError("measured")

    monkeypatch.setattr(pairs, "run_workers", measuring)
    ended = run("check", "--baseline", convnet, "--candidate", convnet, *option)
    assert ended.code == 3
    assert ended.error.startswith(f"edgeprune: {option[0]} ")


def test_a_missed_budget_alone_has_the_exit_code_of_a_budget(
    run: Any, convnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missed = MetricVerdict(name="fps>=900", verdict="fail", evidence="88 FPS over 6 pairs", budget=True)

    def run_gate(*arguments: Any, **options: Any) -> GateResult:
        assert [budget.name for budget in arguments[2].budgets] == ["fps>=900"]
        result = a_result("pass")
        return result.model_copy(update={"verdict": "fail", "metrics": (*result.metrics, missed)})

    monkeypatch.setattr(gate, "run_gate", run_gate)
    ended = run("check", "--baseline", convnet, "--candidate", convnet, "--budget", "fps>=900")
    assert ended.code == 7
    assert ended.error == f"edgeprune: {convnet}: fps>=900: 88 FPS over 6 pairs"


@pytest.fixture
def short_pairs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let real workers time for a moment, and keep A/A runs in a folder of the test's own; return that."""
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "aa" / "local"


def test_an_aa_run_is_kept_and_a_finer_tau_is_then_refused(
    run: Any, convnet: Path, short_pairs: Path
) -> None:
    ended = run("check", "--baseline", convnet, "--aa", "6", "--json")
    assert ended.code == 0, ended.errors
    ((name, told),) = json.loads(ended.stdout).items()
    (kept,) = short_pairs.glob("*.json")
    assert told["kept"] == str(kept)
    assert told["least_tau"] == 2 * told["p95"] > 0
    assert json.loads(kept.read_text())["pairs"] == told["pairs"] == 6
    finer = str(told["least_tau"] / 2)
    ended = run("check", "--baseline", convnet, "--candidate", convnet, "--target", name, "--tau", finer)
    assert ended.code == 3
    assert "is finer than the device can tell" in ended.error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "Missing option '--candidate'"),
        (("--aa", "6", "--candidate", "x"), "--aa runs the baseline alone"),
        (("--aa", "5"), "5 is not in the range 6<=x<=10000"),
        (("--tau", "5"), "5.0 is not in the range 0<=x<1"),
        (("--tau", "nan"), "'nan' is not a number in the range 0<=x<1"),
        (("--max-drop", "nan"), "'nan' is not a number in the range 0<=x<=1"),
    ],
)
def test_options_that_do_not_go_together_are_a_usage_error(
    run: Any, convnet: Path, options: tuple[str, ...], words: str
) -> None:
    ended = run("check", "--baseline", convnet, *options)
    assert ended.code == 2
    assert words in ended.errors[-1]
