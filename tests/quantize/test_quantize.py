"""int8 graphs: each scheme in its runtime's dialect, the head's decode in float, and real scores left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from conftest import write_convnet
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.backends import get_backend
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.quantize import SCHEMES, CalibrationSet, quantize
from edgeprune.quantize.schemes import QDQ_SCHEMES
from edgeprune.records.summary import ExportCheck

SPEC = Preprocess(64)
QDQ = list(QDQ_SCHEMES)

Exported = dict[str, tuple[Artifact, ExportCheck]]


def assert_lively(expected: np.ndarray, got: np.ndarray) -> None:
    """Scores survive int8: not zero, and in step with the float ones."""
    assert got.shape == expected.shape
    assert np.isfinite(got).all()
    assert got[:, 4:].max() > 0.01
    assert np.corrcoef(expected[:, 4:].ravel(), got[:, 4:].ravel())[0, 1] > 0.8


def outputs(path: Path, tiny: Dataset) -> np.ndarray:
    session = get_backend("onnxruntime").load(path, "int8", 1, {})
    return np.concatenate([session(load_input(image, SPEC)[0])[0] for image in tiny.images["val"]])


@pytest.mark.parametrize("scheme", QDQ)
def test_scores_survive_and_the_metadata_is_kept(
    float_models: Exported, quantized: dict[str, Artifact], tiny: Dataset, scheme: str
) -> None:
    source, artifact = float_models["yolov8n"][0], quantized[scheme]
    assert (artifact.kind, artifact.precision, artifact.parent) == ("onnx", "int8", source.sha256)
    assert artifact.size_bytes < 0.45 * source.size_bytes
    assert_lively(outputs(source.path, tiny), outputs(artifact.path, tiny))
    kept, original = (
        {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        for path in (artifact.path, source.path)
    )
    assert original.items() <= kept.items()


def test_u8s8_runs_in_integers_on_onnx_runtime(quantized: dict[str, Artifact]) -> None:
    count = get_backend("onnxruntime").quantized_ops(quantized["ort-u8s8"].path)
    assert count is not None
    assert count >= 57  # convolutions with SiLU; the last six of the head feed a float decode


def test_the_newest_family_keeps_its_scores(
    float_models: Exported, calibration: CalibrationSet, tiny: Dataset, tmp_path: Path
) -> None:
    artifact = quantize(float_models["yolo26n"][0], "ort-u8s8", calibration, adapter, tmp_path)
    assert_lively(outputs(float_models["yolo26n"][0].path, tiny), outputs(artifact.path, tiny))


def test_nncf_writes_an_ir_that_runs_in_integers(
    float_models: Exported,
    calibration: CalibrationSet,
    tiny: Dataset,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    source = float_models["yolov8n"][0]
    artifact = quantize(source, "nncf", calibration, adapter, tmp_path)
    assert capfd.readouterr().out == "", "standard output is for a command's JSON"
    assert artifact.path == tmp_path / "engine"
    assert (artifact.precision, artifact.parent) == ("int8", source.sha256)
    backend = get_backend("openvino")
    session = backend.load(artifact.path, "int8", 1, {})
    got = np.concatenate([session(load_input(image, SPEC)[0])[0] for image in tiny.images["val"]])
    assert_lively(outputs(source.path, tiny), got)
    assert (backend.quantized_ops(artifact.path) or 0) >= 50


def test_the_same_images_give_the_same_file(
    float_models: Exported, quantized: dict[str, Artifact], tiny: Dataset, tmp_path: Path
) -> None:
    images = tiny.sample("train", 3, seed=0)
    again = quantize(float_models["yolov8n"][0], "trt-s8s8", CalibrationSet(images, SPEC), adapter, tmp_path)
    assert again.sha256 == quantized["trt-s8s8"].sha256


@pytest.mark.parametrize("scheme", ["ort-u8s8", "nncf"])
def test_a_failure_is_one_line_that_names_the_scheme(
    calibration: CalibrationSet, tmp_path: Path, scheme: str
) -> None:
    """A network of a size that the images do not have."""
    path = write_convnet(tmp_path / "small.onnx")
    assert scheme in SCHEMES
    with pytest.raises(CompileError, match=f"{scheme}: quantization failed: ") as caught:
        quantize(Artifact.of(path, "onnx", "fp32"), scheme, calibration, adapter, tmp_path)
    assert "\n" not in str(caught.value)
