"""Files for phones: they load, compute what the ONNX file does, and list their operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.backends import get_backend
from edgeprune.backends.ort_format import config_of, operators, to_ort
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.quantize import CalibrationSet, quantize
from edgeprune.records.summary import ExportCheck

Exported = dict[str, tuple[Artifact, ExportCheck]]
ORT = get_backend("onnxruntime")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_detector_for_a_phone(
    float_models: Exported, tiny: Dataset, precision: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = float_models["yolov8n"][0]
    if precision == "int8":
        calibration = CalibrationSet(tiny.images["train"][:4], Preprocess(64))
        (made := tmp_path / "int8").mkdir()
        model = quantize(model, "ort-s8s8", calibration, adapter, made)
    capfd.readouterr()
    phone = to_ort(model, tmp_path)
    assert capfd.readouterr().out == ""  # a build with --json prints to it
    assert (phone.path.name, phone.precision, phone.parent) == ("model.ort", precision, model.sha256)
    assert phone.path.read_bytes()[4:8] == b"ORTM"
    tensor, _ = load_input(tiny.images["val"][0], Preprocess(64))
    (expected,) = ORT.load(model.path, precision, 1, {})(tensor)
    (found,) = ORT.load(phone.path, precision, 1, {})(tensor)
    # Rounding differs where S8 convolutions are fused for ARM and left in float on x86: a step of int8.
    bound = 1e-3 if precision == "fp32" else 0.02 * np.abs(expected).max()
    assert np.abs(found - expected).max() < bound

    listed = config_of(phone.path).read_text()
    assert str(tmp_path) not in listed
    for kind in set(operators(phone.path)):
        assert kind in listed
    # Nothing that only x86 has: its blocked layout is left out.
    assert not {"ReorderInput", "ReorderOutput"} & set(operators(phone.path))
    count = ORT.quantized_ops(phone.path)
    assert count == operators(phone.path).count("QLinearConv")
    assert count == (0 if precision == "fp32" else 63)


def test_the_same_file_twice_is_the_same(convnet: Path, tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        (folder := tmp_path / name).mkdir()
        made.append(to_ort(Artifact.of(convnet, "onnx", "fp32"), folder))
    assert made[0].sha256 == made[1].sha256
    assert config_of(made[0].path).read_bytes() == config_of(made[1].path).read_bytes()


def test_what_cannot_be_converted_is_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a graph")
    with pytest.raises(CompileError, match=r"conversion to \.ort failed") as caught:
        to_ort(Artifact.of(broken, "onnx", "fp32"), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_device_that_gets_wheels_gets_what_reads_such_a_file() -> None:
    assert any(wheel.startswith("flatbuffers==") for wheel in ORT.WHEELS["aarch64"])
