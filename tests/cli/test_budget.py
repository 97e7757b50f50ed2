"""The search for the budget by the command: the smallest network in budget, resumed, told in the report."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeprune.images.dataset import Dataset

TARGET = "jetson"  # not measured here, so that nothing depends on how fast this machine is

# The command, killed as `kill -9` does it when the first rung is done and the second one begins.
KILLED = """
import os, signal
from edgeprune.__main__ import main
from edgeprune.pipeline.solve import run as solving

propose, rungs = solving.propose, []

def propose_once(*given):
    rungs.append(given)
    if len(rungs) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return propose(*given)

solving.propose = propose_once
main()
"""


@pytest.fixture(scope="module")
def searched(
    run: Any, classifiers: dict[str, Path], digits: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, tuple[object, ...]]:
    """Return the folder of a build that searched, with any drop allowed, and its options."""
    out = tmp_path_factory.mktemp("budget") / "out"
    options = (
        *("--model", classifiers["yolov8n-cls"], "--data", digits.source, "--out", out, "--imgsz", "32"),
        *("--target", TARGET, "--effort", "quick", "--epochs", "1", "--set", "quantize.images=4"),
        *("--set", "finetune.batch=12", "--set", "prune.max_ratio=0.5", "--bench", "quick"),
    )
    ended = run("build", *options, "--max-drop", "1")
    assert ended.code == 0, (ended.errors, ended.exception)
    assert "The smallest that keeps to a drop of 1 on val is" in " ".join(ended.stdout.split())
    return out, options


def _search(out: Path) -> dict[str, Any]:
    summary = json.loads((out / "summary.json").read_text())
    found: dict[str, Any] = summary["targets"][TARGET]["pruning"]["search"]
    return found


def test_any_drop_allowed_leads_to_the_smallest_size_there_is(searched: tuple[Path, Any]) -> None:
    search = _search(searched[0])
    rungs = search["rungs"]
    assert search["ended"] == "done" and search["cost"] == "macs" and len(rungs) >= 2
    (taken,) = (one for one in rungs if one["chosen"])
    assert taken["share"] == min(one["share"] for one in rungs)
    assert taken["long"] is not None and taken["params"] < 0.8
    low, high = taken["long_interval"]
    assert low <= taken["long"] <= high and not search["sure"]
    assert all(len(one["short_interval"]) == 2 for one in rungs)
    assert [one["params"] for one in rungs] == sorted((one["params"] for one in rungs), reverse=True)


def test_the_report_shows_the_curve_and_every_size(searched: tuple[Path, Any]) -> None:
    out, _ = searched
    html, markdown = (out / "report.html").read_text(), (out / "report.md").read_text()
    assert "Drop over speed of every size that was tried" in html
    assert "The search was carried through" in html and "The search was carried through" in markdown
    assert "taken" in markdown


def test_the_same_command_again_trains_nothing(run: Any, searched: tuple[Path, Any]) -> None:
    out, options = searched
    before = _search(out)
    stages = {path.name for path in (out / "stages").iterdir()}
    assert run("build", *options, "--max-drop", "1").code == 0
    assert _search(out) == before
    assert {path.name for path in (out / "stages").iterdir()} == stages


def test_a_kill_in_a_rung_loses_that_rung_only_and_the_same_network_is_chosen(
    run: Any, searched: tuple[Path, Any], tmp_path: Path
) -> None:
    finished, options = searched
    out = tmp_path / "out"
    again = [str(out if option == finished else option) for option in options]
    command = [sys.executable, "-c", KILLED, "build", *again, "--max-drop", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    kept = {path: path.stat().st_mtime_ns for path in (out / "stages").rglob("*") if _is_whole(path)}
    assert any(path.name == "model.pt" for path in kept) and not (out / "summary.json").exists()
    assert run("build", *again, "--max-drop", "1").code == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert _search(out) == _search(finished)


def _is_whole(path: Path) -> bool:
    return path.is_file() and not any(part.startswith(".") for part in path.parts)


def test_a_size_that_is_named_leaves_no_search_to_bound(run: Any, searched: tuple[Path, Any]) -> None:
    _, options = searched
    ended = run("build", *options, "--ratio", "0.5")
    assert ended.code == 3
    assert ended.error.endswith("solve: with prune.ratio no size is searched for: leave out one of the two")


def test_a_budget_of_speed_does_not_pass_where_the_device_is_not_there(
    run: Any, searched: tuple[Path, Any]
) -> None:
    out, options = searched
    ended = run("build", *options, "--max-drop", "1", "--max-latency-ms", "5", "--max-memory-mb", "100")
    assert ended.code == 8
    silent = ("p50 at most 5 ms", "peak memory at most 100 MB")
    assert f"Not judged: {', '.join(silent)}. Everything is kept." in ended.error
    summary = json.loads((out / "summary.json").read_text())
    assert summary["unjudged"] == list(silent)
    assert ", ".join(silent) in summary["targets"][TARGET]["verdict"]
