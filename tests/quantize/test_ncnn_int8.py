"""ncnn's int8: the file holds what ncnn's own tools would write, and the arithmetic is that of integers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.backends import get_backend, ncnn
from edgeprune.backends.ncnn_files import INT8_TERM, Layer, layers_of, write
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError, DataError
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.quantize import CalibrationSet, quantize
from edgeprune.quantize.ncnn_int8 import BINS, histogram, quantize_layer, round_half_away, threshold
from edgeprune.records.summary import ExportCheck

pytest.importorskip("ncnn")
Exported = dict[str, tuple[Artifact, ExportCheck]]
SPEC = Preprocess(64)
SIDE = 12


def _convolution(kernel: int, stride: int, inputs: int, outputs: int, groups: int = 1) -> Layer:
    rng = np.random.default_rng(kernel)
    count = outputs * inputs // groups * kernel * kernel
    weights = rng.standard_normal(count).astype("<f4")
    weights[: count // outputs] = 0  # a channel of zeros has no scale of its own
    params = {0: outputs, 1: kernel, 3: stride, 4: kernel // 2, 5: 1, 6: count}
    kind = "Convolution" if groups == 1 else "ConvolutionDepthWise"
    return Layer(
        kind,
        "conv",
        ("in0",),
        ("out0",),
        {number: str(value) for number, value in (params | ({7: groups} if groups > 1 else {})).items()},
        (bytes(4) + weights.tobytes(), rng.standard_normal(outputs).astype("<f4").tobytes()),
    )


def _run(layer: Layer, image: np.ndarray, folder: Path, packing: str = "1") -> np.ndarray:
    size = [1, layer.integer(0), *(side // layer.integer(3) for side in image.shape[2:])]
    write([Layer("Input", "in0", (), ("in0",), {}), layer], folder)
    shapes = {"inputs": ["in0", list(image.shape)], "outputs": {"out0": size}}
    (folder / ncnn.SHAPES).write_text(json.dumps(shapes))
    return ncnn.load(folder, "int8", 1, {"use_packing_layout": packing})(image)[0]


def _integer_arithmetic(layer: Layer, image: np.ndarray, input_scale: float) -> np.ndarray:
    """Convolve in int64 and scale once at the end: what int8 inference means."""
    n = layer.integer
    groups = n(7, 1)
    kernel, stride, outputs = n(1), n(3), n(0)
    rows = groups if groups > 1 else outputs
    small = quantize_layer(layer, input_scale).weights
    weights = np.frombuffer(small[0], np.int8, n(6), 4).astype(np.int64).reshape(outputs, -1, kernel, kernel)
    bias, scales = np.frombuffer(small[1], "<f4"), np.frombuffer(small[2], "<f4")
    assert len(scales) == rows
    integers = round_half_away(image[0] * np.float32(input_scale)).astype(np.int64)
    padded = np.pad(integers, ((0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    if groups > 1:
        sums = np.einsum("chwij,cij->chw", windows, weights[:, 0])
    else:
        sums = np.einsum("chwij,ocij->ohw", windows, weights)
    return (sums / (scales[:, None, None] * np.float64(input_scale)) + bias[:, None, None])[None]


@pytest.mark.parametrize(
    ("kernel", "stride", "groups"), [(1, 1, 1), (3, 2, 1), (3, 1, 1), (5, 1, 1), (3, 1, 16), (3, 2, 16)]
)
def test_a_convolution_is_exact_integer_arithmetic(
    kernel: int, stride: int, groups: int, tmp_path: Path
) -> None:
    layer = _convolution(kernel, stride, inputs=16, outputs=16, groups=groups)
    image = np.random.default_rng(9).standard_normal((1, 16, SIDE, SIDE)).astype(np.float32)
    scale = 127 / float(np.abs(image).max())
    # ncnn's packed depthwise kernels for x86 divide by an approximate reciprocal, 2e-4 off.
    got = _run(quantize_layer(layer, scale), image, tmp_path, packing="0" if groups > 1 else "1")
    packed = _run(quantize_layer(layer, scale), image, tmp_path)
    expected = _integer_arithmetic(layer, image, scale)
    assert np.abs(got - expected).max() / np.abs(expected).max() < 2e-6
    assert np.abs(packed - expected).max() / np.abs(expected).max() < 5e-4
    float_output = _run(layer, image, tmp_path)
    assert 1e-4 < np.abs(got - float_output).max() / np.abs(float_output).max() < 0.1


def test_three_by_three_weights_leave_room_for_winograd() -> None:
    plain = _convolution(3, 2, 16, 16)
    for layer, bits in ((plain, 127), (_convolution(3, 1, 16, 16), 31), (_convolution(1, 1, 16, 16), 127)):
        weights = np.frombuffer(quantize_layer(layer, 1.0).weights[0], np.int8, layer.integer(6), 4)
        assert np.abs(weights).max() == bits


@given(hnp.arrays(np.float32, 8, elements=st.floats(-200, 200, width=32)))
def test_rounding_is_half_away_from_zero(values: np.ndarray) -> None:
    got = round_half_away(values)
    assert got.dtype == np.int8
    assert (np.abs(got - np.clip(values, -127, 127)) <= 0.5 + 1e-5).all()
    np.testing.assert_array_equal(round_half_away(-values), -got)
    assert round_half_away(np.array([0.5, 1.5, -2.5])).tolist() == [1, 2, -3]


@given(hnp.arrays(np.float32, st.integers(1, 300), elements=st.floats(0, 1e4, width=32)))
def test_the_histogram_counts_everything_but_zeros(values: np.ndarray) -> None:
    counts = histogram(values, float(values.max()))
    assert counts.shape == (BINS,)
    assert counts.sum() == np.count_nonzero(values)


def test_the_threshold_lies_within_the_range() -> None:
    rng = np.random.default_rng(0)
    samples = {
        "normal": np.abs(rng.standard_normal(20_000)),
        "one far value": np.append(np.abs(rng.standard_normal(20_000)), 100.0),
        "even": rng.random(20_000),
        "one value": np.full(10, 3.0),
    }
    found = {}
    for name, values in samples.items():
        largest = float(values.max())
        found[name] = threshold(histogram(values.astype(np.float32), largest), largest) / largest
        assert 0 < found[name] <= 1, name
    assert found["one far value"] < 0.2  # clips what would cost everyone else their resolution
    assert found["even"] > 0.9


def test_zeros_alone_give_a_scale_all_the_same() -> None:
    assert threshold(histogram(np.zeros(100, np.float32), 0.0), 0.0) > 0


@pytest.fixture(scope="module")
def calibration(tiny: Dataset) -> CalibrationSet:
    return CalibrationSet(tiny.sample("train", 3, seed=0), SPEC)


def _scores(session: Any, tiny: Dataset) -> np.ndarray:
    return np.concatenate([session(load_input(image, SPEC)[0])[0][:, 4:] for image in tiny.images["val"]])


@pytest.mark.parametrize(
    ("family", "layers", "scheme"), [("yolov8n", 63, "ncnn-minmax"), ("yolo11n", 87, "ncnn-kl")]
)
def test_a_detector_keeps_its_scores_and_runs_in_integers(
    float_models: Exported,
    calibration: CalibrationSet,
    tiny: Dataset,
    tmp_path: Path,
    family: str,
    layers: int,
    scheme: str,
) -> None:
    source = float_models[family][0]
    artifact = quantize(source, scheme, calibration, adapter, tmp_path)
    assert (artifact.kind, artifact.precision, artifact.parent) == ("onnx", "int8", source.sha256)
    assert artifact.size_bytes < 0.45 * source.size_bytes
    assert ncnn.quantized_ops(artifact.path) == layers
    got = _scores(ncnn.load(artifact.path, "int8", 1, {}), tiny)
    expected = _scores(get_backend("onnxruntime").load(source.path, "fp32", 1, {}), tiny)
    assert got.max() > 0.01
    assert np.corrcoef(expected.ravel(), got.ravel())[0, 1] > 0.8
    with pytest.raises(CompileError, match="in integers or not at all"):
        ncnn.load(artifact.path, "int8", 1, {"use_int8_inference": "0"})


def test_what_is_kept_stays_in_float(
    float_models: Exported, calibration: CalibrationSet, tmp_path: Path
) -> None:
    source = float_models["yolov8n"][0]
    keep = ["/model.0/conv/Conv", "/model.22/cv3.0/cv3.0.2/Conv"]
    artifact = quantize(source, "ncnn-minmax", calibration, adapter, tmp_path, keep)
    convolutions = [layer for layer in layers_of(artifact.path) if layer.kind == "Convolution"]
    floats = [layer for layer in convolutions if not layer.integer(INT8_TERM)]
    assert len(convolutions) - len(floats) == 61
    assert [layer.integer(0) for layer in floats] == [16, 3]


def test_the_same_images_give_the_same_file(
    float_models: Exported, calibration: CalibrationSet, tmp_path: Path
) -> None:
    twice = [
        quantize(float_models["yolov8n"][0], "ncnn-minmax", calibration, adapter, tmp_path / name).sha256
        for name in ("first", "second")
    ]
    assert twice[0] == twice[1]


def test_without_images_nothing_is_made_up(float_models: Exported, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="calibration: no images"):
        quantize(float_models["yolov8n"][0], "ncnn-kl", CalibrationSet((), SPEC), adapter, tmp_path)
