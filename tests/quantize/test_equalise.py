"""Cross-layer equalisation and bias correction: the same function, and less error in integers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.core.artifact import Artifact
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.quantize import CalibrationSet, quantize
from edgeprune.quantize.equalise import equalise, find_pairs
from edgeprune.quantize.schemes import QDQ_SCHEMES
from edgeprune.records.summary import ExportCheck

SPEC = Preprocess(32)
WIDTH = 12


def chain(activations: list[str], seed: int = 0, spread: float = 2.0, depthwise: int = -1) -> onnx.ModelProto:
    """Return convolutions with these activations behind them, channels of very different ranges."""
    rng = np.random.default_rng(seed)
    nodes, weights, tensor, channels = [], [], "images", 3
    for index, activation in enumerate(activations):
        groups = channels if index == depthwise else 1
        kernel = rng.standard_normal((WIDTH, channels // groups, 3, 3)) * 0.3
        if index < len(activations) - 1:  # nothing reads the last one that could make up for it
            kernel *= 10 ** rng.uniform(-spread / 2, spread / 2, (WIDTH, 1, 1, 1))
        bias = rng.standard_normal(WIDTH) * 0.1
        for name, values in ((f"w{index}", kernel), (f"b{index}", bias)):
            weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        inputs = [tensor, f"w{index}", f"b{index}"]
        nodes.append(
            helper.make_node("Conv", inputs, [f"c{index}"], f"conv{index}", pads=[1] * 4, group=groups)
        )
        nodes.append(helper.make_node(activation, [f"c{index}"], [f"a{index}"], f"act{index}"))
        tensor, channels = f"a{index}", WIDTH
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, [1, WIDTH, 32, 32])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def outputs(model: onnx.ModelProto, images: list[np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"images": image})[0] for image in images])


def weight(model: onnx.ModelProto, name: str) -> np.ndarray:
    found = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    return np.asarray(numpy_helper.to_array(found))


@given(
    seed=st.integers(0, 99),
    depthwise=st.sampled_from([-1, 1, 2]),
    kind=st.sampled_from(["Relu", "LeakyRelu"]),
)
@settings(max_examples=20, deadline=None)
def test_the_function_stays_the_same(seed: int, depthwise: int, kind: str) -> None:
    model = chain([kind] * 4, seed, depthwise=depthwise)
    images = [np.random.default_rng(seed).random((1, 3, 32, 32), dtype=np.float32)]
    before = outputs(model, images)
    assert equalise(model) == 3
    np.testing.assert_allclose(outputs(model, images), before, rtol=1e-3, atol=1e-5 * np.abs(before).max())


def test_what_is_made_and_what_reads_it_have_one_range() -> None:
    model = chain(["Relu", "Relu"])
    equalise(model)
    made = np.abs(weight(model, "w0")).max(axis=(1, 2, 3))
    read = np.abs(weight(model, "w1")).max(axis=(0, 2, 3))
    np.testing.assert_allclose(made, read, rtol=1e-5)


def test_a_dead_channel_is_left_alone() -> None:
    model = chain(["Relu", "Relu"])
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "w0")
    values = np.array(numpy_helper.to_array(tensor))
    values[3] = 0
    tensor.CopyFrom(numpy_helper.from_array(values, "w0"))
    images = [np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)]
    before = outputs(model, images)
    equalise(model)
    assert np.isfinite(weight(model, "w1")).all()
    np.testing.assert_allclose(outputs(model, images), before, rtol=1e-3, atol=1e-5 * np.abs(before).max())


def test_scales_do_not_go_through_other_activations_or_to_several_readers(
    float_models: dict[str, tuple[Artifact, ExportCheck]],
) -> None:
    assert not find_pairs(chain(["Sigmoid"] * 3).graph)
    assert not find_pairs(onnx.load(float_models["yolov8n"][0].path).graph)  # SiLU
    model = chain(["Relu"] * 3)
    model.graph.output.append(helper.make_tensor_value_info("a0", TensorProto.FLOAT, None))
    assert [pair.first.name for pair in find_pairs(model.graph)] == ["conv1"]


def in_integers(
    model: onnx.ModelProto, scheme: str, calibration: CalibrationSet, folder: Path
) -> onnx.ModelProto:
    folder.mkdir()
    onnx.save(model, folder / "float.onnx")
    source = Artifact.of(folder / "float.onnx", "onnx", "fp32")
    return onnx.load(quantize(source, scheme, calibration, adapter, folder).path)


@pytest.mark.parametrize("scheme", QDQ_SCHEMES)
def test_equalised_networks_lose_less_in_integers(scheme: str, tiny: Dataset, tmp_path: Path) -> None:
    calibration = CalibrationSet(tiny.images["train"][:4], SPEC)
    images = [load_input(image, SPEC)[0] for image in calibration.images]
    model = chain(["Relu"] * 3)
    wanted = outputs(model, images)
    scale = np.abs(wanted).max(axis=(0, 2, 3), keepdims=True)
    errors = {}
    for name in ("plain", "equalised"):
        settled = replace(calibration, equalise=name == "equalised")
        got = outputs(in_integers(model, scheme, settled, tmp_path / name), images)
        errors[name] = float((((got - wanted) / scale) ** 2).mean())
    assert errors["equalised"] < 0.9 * errors["plain"]


@pytest.mark.parametrize("scheme", QDQ_SCHEMES)
def test_a_corrected_network_is_right_on_average(scheme: str, tiny: Dataset, tmp_path: Path) -> None:
    calibration = CalibrationSet(tiny.images["train"][:6], SPEC)
    images = [load_input(image, SPEC)[0] for image in calibration.images]
    model = chain(["Relu"] * 3, spread=0)
    wanted = outputs(model, images).mean(axis=(0, 2, 3))
    errors = {}
    for name in ("plain", "corrected"):
        settled = replace(calibration, correct_bias=name == "corrected")
        got = outputs(in_integers(model, scheme, settled, tmp_path / name), images).mean(axis=(0, 2, 3))
        errors[name] = float(np.abs(got - wanted).mean())
    assert errors["corrected"] < errors["plain"]
