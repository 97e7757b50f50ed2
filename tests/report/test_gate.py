"""The gate's verdict in every format: golden files, and texts that try to be more than text."""

from __future__ import annotations

import io
import json
import stat
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt

from edgeprune.core.errors import ConfigError, OutputError
from edgeprune.gate.result import Failure, GateResult, MetricVerdict, Pair
from edgeprune.records.bench_result import Flag
from edgeprune.report.gate import FORMATS, parse_report, render, write_reports

ENDING = {
    "table": "txt",
    "json": "json",
    "junit": "xml",
    "markdown": "md",
    "github": "github.txt",
    "github-action-benchmark": "action.json",
    "bencher": "bencher.json",
}
HOSTILE = '50%, ::error::x | <b>a</b> & "q" [l](http://e.x)\r\n::warning::y\x1b[31m\x00'


def _pair(index: int, candidate_ms: float, **changes: object) -> Pair:
    values = {
        "order": "AB" if index % 2 == 0 else "BA",
        "baseline_ms": 10.0,
        "candidate_ms": candidate_ms,
        "baseline_fps": 99.0,
        "candidate_fps": 990 / candidate_ms,
        "baseline_p90_ms": 11.0,
        "candidate_p90_ms": candidate_ms + 1,
    }
    return Pair.model_validate(values | changes)


def a_result(metrics: tuple[MetricVerdict, ...], notes: tuple[str, ...] = ()) -> GateResult:
    disturbed = Flag(code="contended", severity="invalid", evidence="synthetic")
    pairs = (*(_pair(i, 11.0 + i / 10) for i in range(6)), _pair(6, 50.0, disturbed_by=(disturbed,)))
    verdicts = {metric.verdict for metric in metrics}
    return GateResult(
        verdict="fail" if "fail" in verdicts else "inconclusive" if "inconclusive" in verdicts else "pass",
        tau=0.05,
        metrics=metrics,
        pairs=pairs,
        baseline={"name": "baseline", "runtime": "synthetic"},
        candidate={"name": "candidate", "runtime": "synthetic"},
        notes=notes,
    )


LATENCY = MetricVerdict(
    name="p50 latency",
    verdict="fail",
    evidence="+12.5% time over 6 pairs (bounds +10.1% to +14.9%)",
    baseline=10.0,
    candidate=11.25,
    unit="ms",
    p_value=1e-6,
)
OTHERS = (
    LATENCY.model_copy(
        update={"name": "fps", "verdict": "inconclusive", "baseline": 99.0, "candidate": 88.0, "unit": "FPS"}
    ),
    LATENCY.model_copy(update={"name": "p90 latency", "verdict": "advisory", "candidate": 12.25}),
    MetricVerdict(
        name="fps>=30",
        verdict="pass",
        evidence="88 FPS over 6 pairs",
        budget=True,
        candidate=88.0,
        unit="FPS",
    ),
    MetricVerdict(
        name="peak memory",
        verdict="pass",
        evidence="100.0 MB before, 100.0 MB now",
        baseline=100.0,
        candidate=100.0,
        unit="MB",
    ),
    MetricVerdict(
        name="accuracy",
        verdict="pass",
        evidence="mAP50-95 0.5000 before, 0.5000 now",
        baseline=0.5,
        candidate=0.5,
        unit="mAP50-95",
    ),
)
RESULTS = {
    "x86-ort": a_result((LATENCY, *OTHERS), ("the A/A run of 2026-01-01 is 99 days old",)),
    "x86-openvino": a_result((LATENCY.model_copy(update={"verdict": "pass"}),)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_verdict_looks_like_this(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"gate.{ENDING[name]}", render(name, RESULTS) + "\n")


def hostile() -> dict[str, GateResult]:
    metrics = tuple(
        LATENCY.model_copy(update={"verdict": verdict, "evidence": HOSTILE})
        for verdict in ("fail", "inconclusive", "pass")
    )
    return {HOSTILE: a_result(metrics, (HOSTILE,))}


def test_junit_counts_and_stays_xml_whatever_the_names_hold() -> None:
    root = ET.parse(io.StringIO(render("junit", hostile()))).getroot()
    (suite,) = root
    counts = [int(suite.get(key, "")) for key in ("tests", "failures", "errors")]
    assert counts == [3, 1, 1]
    assert [len(suite.findall(f"testcase/{kind}")) for kind in ("failure", "error")] == [1, 1]
    assert "<b>a</b>" in (suite.find("testcase/failure").text or "")  # type: ignore[union-attr]


def test_an_annotation_is_one_command_a_line_whatever_the_names_hold() -> None:
    lines = render("github", hostile()).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["::error", "::warning", "::notice"]
    for line in lines:
        properties, _, message = line.removeprefix("::").partition("::")
        assert properties.count("=") == 1 and "," not in properties and ":" not in properties
        assert "50%25, ::error::x" in message and "\x1b" not in line


def test_markdown_keeps_text_as_text() -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(render("markdown", hostile()))
    inline = [child for token in tokens for child in token.children or ()]
    assert not [token for token in inline if token.type in ("html_inline", "link_open", "image")]
    assert not [token for token in tokens if token.type == "html_block"]
    rows = [token for token in tokens if token.type == "tr_open"]
    cells = [token for token in tokens if token.type in ("td_open", "th_open")]
    assert (len(rows), len(cells)) == (4, 20)


def test_an_error_is_told_in_every_format_beside_what_was_judged() -> None:
    failure = Failure(kind="DeviceError", message=HOSTILE, exit_code=4)
    judged = {"x86-openvino": RESULTS["x86-openvino"]}
    root = ET.parse(io.StringIO(render("junit", judged, failure))).getroot()
    assert [suite.get("errors") for suite in root] == ["0", "1"]
    error = root.find("testsuite[@name='check']/testcase/error")
    assert error is not None and "<b>a</b>" in (error.text or "")
    *others, last = render("github", judged, failure).splitlines()
    assert len(others) == 1 and last.startswith("::error title=edgeprune check%3A error::50%25")
    page = render("markdown", judged, failure)
    assert page.startswith("## edgeprune check: ❌ error\n") and r"\<b\>" in page and "✅ pass" in page
    assert render("table", judged, failure).splitlines()[-1].startswith("ERROR: 50%, ::error::x |")
    assert list(json.loads(render("json", judged, failure))) == ["error", "x86-openvino"]
    for tracker in ("bencher", "github-action-benchmark"):
        assert render(tracker, judged, failure) == render(tracker, judged)


def test_numbers_for_trackers_leave_disturbed_pairs_out() -> None:
    measures = json.loads(render("bencher", RESULTS))["x86-ort"]
    assert measures["latency"] == {"value": 11.25e6, "lower_value": 11.0e6, "upper_value": 11.5e6}
    assert measures["accuracy"] == {"value": 0.5}
    entries = {entry["name"]: entry for entry in json.loads(render("github-action-benchmark", RESULTS))}
    assert entries["x86-ort p50 latency"]["value"] == 11.25
    assert entries["x86-ort p50 latency"]["range"] == "± 0.25"
    assert not [name for name in entries if "fps" in name or "accuracy" in name]  # larger is better there


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("junitt=a.xml", "did you mean 'junit'?"),
        ("a.xml", "'a.xml' is not one of table, json, junit"),
        ("junit=", "write junit=FILE"),
    ],
)
def test_a_report_that_cannot_be_read_is_one_line(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"^--report ") as caught:
        parse_report(text)
    assert words in str(caught.value)


def test_reports_are_written_whole_or_an_error_says_why(tmp_path: Path) -> None:
    place = tmp_path / "new" / "a=b.md"
    assert parse_report(f"markdown={place}") == ("markdown", place)
    write_reports([("markdown", place)], RESULTS)
    assert place.read_text(encoding="utf-8") == render("markdown", RESULTS) + "\n"
    assert stat.S_IMODE(place.stat().st_mode) == 0o644
    with pytest.raises(OutputError, match="cannot be written"):
        write_reports([("table", place / "below a file")], RESULTS)
