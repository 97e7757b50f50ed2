"""Shared fixtures: tiny real ONNX models, so that the runtimes are run and not imitated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

IMAGE = (3, 32, 32)


def write_convnet(path: Path, width: int = 16, depth: int = 2) -> Path:
    """Write `depth` times Conv 3x3 + Relu on one 3x32x32 image, opset 17, with fixed random weights."""
    rng = np.random.default_rng(0)
    nodes, weights, tensor, channels = [], [], "images", IMAGE[0]
    for i in range(depth):
        kernel = rng.standard_normal((width, channels, 3, 3)).astype(np.float32) * 0.2
        weights += [numpy_helper.from_array(kernel, f"w{i}")]
        weights += [numpy_helper.from_array(np.full(width, 0.1, np.float32), f"b{i}")]
        nodes += [helper.make_node("Conv", [tensor, f"w{i}", f"b{i}"], [f"c{i}"], pads=[1, 1, 1, 1])]
        nodes += [helper.make_node("Relu", [f"c{i}"], [f"r{i}"])]
        tensor, channels = f"r{i}", width
    graph = helper.make_graph(
        nodes,
        "convnet",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, *IMAGE])],
        [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, [1, width, *IMAGE[1:]])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="session")
def random_images() -> np.ndarray:
    """Return 16 distinct float32 images of shape (16, 3, 32, 32)."""
    return np.random.default_rng(1).random((16, *IMAGE), dtype=np.float32)


@pytest.fixture(scope="session")
def convnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny fp32 ONNX file."""
    return write_convnet(tmp_path_factory.mktemp("convnet") / "fp32.onnx")


@pytest.fixture(scope="session")
def convnet_int8(convnet: Path, random_images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny network quantised to U8S8 Q/DQ."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(random_images[:4])

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.rest, None)
            return None if image is None else {"images": image[None]}

    path = tmp_path_factory.mktemp("convnet") / "int8.onnx"
    quantize_static(
        convnet,
        path,
        Images(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    return path
