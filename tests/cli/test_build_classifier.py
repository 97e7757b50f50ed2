"""The whole path for a classifier, through the command line: the same stages, judged by top-1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import DIGITS
from edgeprune.config.targets import resolve_targets
from edgeprune.images.dataset import Dataset
from edgeprune.records.summary import load_summary

ORT = next(profile.name for profile in resolve_targets(("cpu",)) if profile.backend == "onnxruntime")


@pytest.fixture(scope="module")
def built(run, classifiers: dict[str, Path], digits: Dataset, tmp_path_factory: pytest.TempPathFactory):
    """Return the folder of a build of a tiny yolov8n-cls for ONNX Runtime on this CPU, and how it ended."""
    out = tmp_path_factory.mktemp("classifier") / "out"
    ended = run(
        *("build", "--model", classifiers["yolov8n-cls"], "--data", digits.source, "--out", out),
        *("--target", ORT, "--ratio", "0.5", "--epochs", "2", "--bench", "quick", "--max-drop", "1"),
        *("--set", "quantize.images=4", "--set", "finetune.batch=12", "--set", "finetune.device=cpu"),
        *("--set", "prune.activation=keep"),
    )
    return out, ended


def test_every_stage_works_on_a_classifier(built) -> None:
    out, ended = built
    assert ended.code == 0, (ended.errors, ended.exception)
    assert "top-1" in ended.stdout
    assert "mAP" not in ended.stdout
    summary = json.loads((out / "summary.json").read_text())
    rows = [row for target in summary["targets"].values() for row in target["rows"]]
    assert {(row["variant"], row["precision"]) for row in rows} >= {
        ("original", "fp32"), ("original", "int8"), ("pruned", "fp32"), ("pruned", "int8"),
    }  # fmt: skip
    for row in rows:
        assert row["metric"] == row["val"]["metric"] == "top-1"
        assert 0 <= row["score"] <= row["others"]["top-5"] == 1
        assert (row["val"]["images"], set(row["per_class"])) == (12, set(DIGITS))
        assert row["precision"] != "int8" or row["quantized_ops"] > 0
    assert summary["chosen"]["p50_ms"] > 0
    pruning = next(iter(summary["targets"].values()))["pruning"]
    assert pruning["params_after"] < pruning["params_before"]
    assert pruning["metric"] == "top-1" and {"score_after_surgery", "score_after_recovery"} < set(pruning)
    assert all(check["box_px"] is None and check["score"] < 1e-3 for check in summary["exports"])
    assert load_summary(out).metric == "top-1"


def test_the_artifact_says_how_an_image_becomes_an_input(built) -> None:
    spec = json.loads((built[0] / "best" / "preprocess.json").read_text())
    assert "centre crop" in spec["preprocess"]["resize"]
    assert spec["preprocess"]["pad"] is None
    assert spec["postprocess"]["head"] == "scores"
    assert spec["postprocess"]["names"] == list(DIGITS)


def test_the_reports_name_the_metric(built) -> None:
    for name in ("report.html", "report.md"):
        text = (built[0] / name).read_text()
        assert "top-1" in text
        assert "top-5" in text
        assert "mAP" not in text


def test_a_classifier_needs_folders_and_a_detector_a_file(
    run,
    classifiers: dict[str, Path],
    checkpoints: dict[str, Path],
    digits: Dataset,
    tiny: Dataset,
    tmp_path: Path,
) -> None:
    for model, data, said in (
        (classifiers["yolov8n-cls"], tiny.source, "a classifier's data is a folder with train/ and val/"),
        (checkpoints["yolov8n"], digits.source, str(digits.source)),
    ):
        ended = run("build", "--model", model, "--data", data, "--out", tmp_path, "--target", "cpu")
        assert ended.code == 3
        assert said in ended.error
