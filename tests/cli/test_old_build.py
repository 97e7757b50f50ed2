"""A build of the version before keys were fixed: every command reads it, and its pruned network loads."""

from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from ultralytics import YOLO

from edgeprune.core.errors import NotComparableError
from edgeprune.models import adapter_of, get_adapter
from edgeprune.records.summary import SCHEMA_VERSION, load_summary

KEPT = Path(__file__).parents[1] / "data" / "old_build"
runs_here = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="its engines were built for x86-64"
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return a copy of the folder, which commands may write into."""
    return Path(shutil.copytree(KEPT, tmp_path / "old"))


def test_its_summary_is_read_with_todays_keys() -> None:
    written = json.loads((KEPT / "summary.json").read_text())
    assert written["schema_version"] == 1
    summary = load_summary(KEPT)
    assert (summary.schema_version, summary.metric, summary.other_metrics) == (
        SCHEMA_VERSION, "mAP50-95", ("mAP50",),
    )  # fmt: skip
    (target,) = summary.targets.values()
    for row, before in zip(target.rows, written["targets"]["x86-ort"]["rows"], strict=True):
        assert (row.metric, row.score) == ("mAP50-95", before["map50_95"])
        assert row.others == {"mAP50": before["map50"]}
        assert row.val and (row.val.score, row.val.chance) == (before["val"]["map50_95"], 0)
    pruning = written["targets"]["x86-ort"]["pruning"]
    assert target.pruning
    assert target.pruning.score_after_surgery == pruning["map50_95_after_surgery"]
    assert target.pruning.score_after_recovery == pruning["map50_95_after_recovery"]


def test_a_summary_of_a_version_to_come_is_refused(old: Path) -> None:
    data = json.loads((old / "summary.json").read_text())
    (old / "summary.json").write_text(json.dumps(data | {"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(NotComparableError, match="schema_version"):
        load_summary(old)


def test_its_report_is_written_again(run: Any, old: Path) -> None:
    ended = run("report", old)
    assert ended.code == 0, ended.errors
    page = (old / "report.html").read_text()
    assert "mAP50-95" in page and "0.5148" in page, "the score of the pruned row"
    assert "0.8850" in page, "its mAP50"


@runs_here
def test_its_engines_are_measured_judged_and_explained(run: Any, old: Path) -> None:
    ended = run("bench", old, "--profile", "quick", "--json")
    assert ended.code == 0, ended.errors
    assert {result["name"] for result in json.loads(ended.stdout)} == {
        f"x86-ort {variant} {precision}"
        for variant in ("original", "pruned")
        for precision in ("fp32", "int8")
    }
    ended = run("check", "--baseline", old, "--candidate", old, "--budget", "map50_95>=0.5", "--json")
    assert ended.code in (0, 8), ended.errors
    (gate,) = json.loads(ended.stdout).values()
    judged = {metric["name"]: metric for metric in gate["metrics"]}
    assert judged["accuracy"]["unit"] == "mAP50-95" and judged["map50_95>=0.5"]["verdict"] == "pass"
    ended = run("explain", old, "--json")
    assert ended.code == 0, ended.errors
    assert json.loads(ended.stdout)["engine"]["layers"]


def test_its_pruned_checkpoint_loads_here_and_in_ultralytics() -> None:
    (path,) = KEPT.glob("stages/finetuned-*/model.pt")
    adapter = adapter_of(path)
    assert adapter is get_adapter("ultralytics")
    ours, theirs = adapter.load(path), YOLO(path)
    assert adapter.info(ours).names == tuple(theirs.names.values()) == ("ant", "bee", "cat")
    summary = load_summary(KEPT).targets["x86-ort"].pruning
    assert summary and sum(tensor.numel() for tensor in ours.parameters()) == summary.params_after
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(images)[0], theirs.model.float().eval()(images)[0])
