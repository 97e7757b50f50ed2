"""Files for other places: a phone, an NPU that is not here, a program without NMS of its own."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgeprune.backends import get_backend, providers
from edgeprune.config.targets import resolve_targets
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import load_input
from edgeprune.images.spec import spec_of


def _options(model: Path, data: Path, target: str, out: Path) -> tuple[object, ...]:
    return (
        *("build", "--model", model, "--data", data, "--target", target, "--out", out, "--imgsz", "64"),
        *("--no-prune", "--set", "quantize.images=4", "--max-drop", "1"),
    )


def test_a_phone_gets_ort_files_whose_accuracy_is_measured_here(
    run, checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    out = tmp_path / "build"
    foreign = "x86-ort" if platform.machine() == "aarch64" else "arm64-ort"
    options = _options(checkpoints["yolov8n"], tiny.source, "android-ort", out)
    ended = run(*options, "--target", foreign, "--json")
    assert (ended.code, ended.errors) == (0, [])
    summary = json.loads((out / "summary.json").read_text())
    _only_facts_of_its_own(summary["targets"][foreign]["rows"])
    # Nobody has trained this model; of the target there is nothing to warn of.
    assert [warning["code"] for warning in summary["warnings"]] == ["weak_original"]
    rows = summary["targets"]["android-ort"]["rows"]
    assert [row["precision"] for row in rows] == ["fp32", "int8"]
    for row in rows:
        assert row["artifact"].endswith(".ort")
        assert row["p50_ms"] is None
        assert "accuracy_on_host" in row["flags"]
        assert row["score"] is not None
        assert row["runtime_version"] is None, "no device has told it"
        assert row["built"]["runtime"] == f"onnxruntime {onnxruntime.__version__}"
        assert row["built"]["seconds"] > 0
    endings = ("ort", "required_operators_and_types.config")
    files = {f"original-{row['precision']}.{ending}" for row in rows for ending in endings}
    assert {path.name for path in (out / "android-ort").iterdir()} == files | {"preprocess.json"}
    spec = spec_of(out / "android-ort")
    (output,) = get_backend("onnxruntime").load(out / "android-ort/original-int8.ort", "int8", 1, {})(
        load_input(tiny.images["val"][0], spec.preprocess)[0]
    )
    assert output.shape == (1, 4 + len(spec.postprocess.names), 84)
    assert np.isfinite(output).all()
    assert (
        "QLinearConv" in (out / "android-ort/original-int8.required_operators_and_types.config").read_text()
    )
    report = (out / "report.md").read_text()
    assert "device was not there" in report and "Built on " in report and "Measured on" not in report
    assert f"The accuracy of {foreign} is that of the machine of this build" in report


def test_a_phones_npu_gets_a_context_binary_whose_accuracy_is_emulated(
    run, checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    if get_backend("qnn").version() is None:
        pytest.skip("onnxruntime-qnn is not installed")
    out, target = tmp_path / "build", "snapdragon-8gen3"
    ended = run(*_options(checkpoints["yolov8n"], tiny.source, target, out), "--json")
    assert (ended.code, ended.errors) == (0, [])
    assert json.loads(ended.stdout)["targets"].keys() == {target}, "nothing else is printed there"
    (row,) = json.loads((out / "summary.json").read_text())["targets"][target]["rows"]
    assert row["score"] is not None and row["flags"] == ["accuracy_emulated"]
    told = ("runtime_version", "p50_ms", "p90_ms", "fps", "peak_mb", "speedup", "bench")
    assert {name: row[name] for name in told} == dict.fromkeys(told)
    placed = row["placement"]
    assert placed["taken"] > 200 and placed["taken"] + sum(placed["left"].values()) == placed["operators"]
    assert {path.name for path in (out / target).iterdir()} == {"original-int8.onnx", "preprocess.json"}
    report = (out / "report.md").read_text()
    assert "of its own engines in Qualcomm's emulator of HTP, which tells no latency" in report
    assert f"HTP runs {placed['taken']} of {placed['operators']} operators" in report
    ended = run("bench", out / target / "original-int8.onnx", "--target", target)
    assert ended.code == 5 and "nothing can be measured here" in ended.error


def _only_facts_of_its_own(rows: list[dict[str, Any]]) -> None:
    """Nothing that this machine's optimiser, runtime or sensors told may stand for another architecture."""
    assert [row["precision"] for row in rows] == ["fp32", "int8"]
    for row in rows:
        told = ("runtime_version", "quantized_ops", "p50_ms", "p90_ms", "fps", "peak_mb", "speedup", "bench")
        assert {name: row[name] for name in told} == dict.fromkeys(told)
        assert row["environment"] == {} and row["flags"] == ["accuracy_on_host"]


def test_a_device_that_openvino_does_not_find_ends_the_build(
    run, checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    if any(name.startswith("NPU") for name in providers("openvino")):
        pytest.skip("this machine has an NPU")
    ended = run(*_options(checkpoints["yolov8n"], tiny.source, "intel-npu-openvino", tmp_path / "build"))
    assert ended.code == 5
    assert "OpenVINO finds no NPU here" in ended.error
    listed = run("targets").stdout.splitlines()
    (line,) = (line for line in listed if line.strip().startswith("intel-npu-openvino"))
    assert "not here: openvino finds no NPU here" in line


def test_the_chosen_file_can_have_preprocessing_and_nms_inside(
    run, checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    (target,) = (found.name for found in resolve_targets(("cpu",)) if found.backend == "onnxruntime")
    options = _options(checkpoints["yolov8n"], tiny.source, target, tmp_path / "build")
    ended = run(*options, "--bench", "quick", "--set", "export.embed=[scale, nms]")
    assert ended.code == 0, (ended.errors, ended.exception)
    session = onnxruntime.InferenceSession(tmp_path / "build/best/model-embedded.onnx")
    (found,) = session.run(None, {"image": np.zeros((1, 64, 64, 3), np.uint8)})
    assert found.shape[1] == 6
    assert (tmp_path / "build/best/model.onnx").is_file()
