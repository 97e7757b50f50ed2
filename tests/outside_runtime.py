"""A runtime as another package would bring it: a few operators in plain numpy, in one module.

`tests/cli/test_outside_runtime.py` installs it beside the package, under the entry point `plain`.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.core.artifact import Artifact
from edgeprune.core.onnx_files import read_onnx

MODULE = "numpy"
TAKES = "a .plain file"
ENGINE = "model.plain"
Array = Any


def conv(x: Array, weight: Array, bias: Array = 0.0, **settings: Any) -> Array:
    top, left, bottom, right = settings.get("pads", (0, 0, 0, 0))
    rows, columns = settings.get("strides", (1, 1))
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axis=(2, 3))
    windows = windows[:, :, ::rows, ::columns]
    return np.einsum("nchwkl,ockl->nohw", windows, weight, optimize=True) + np.reshape(bias, (-1, 1, 1))


def softmax(x: Array, axis: int = -1) -> Array:
    shifted = np.exp(x - x.max(axis, keepdims=True))
    return shifted / shifted.sum(axis, keepdims=True)


OPERATORS: dict[str, Callable[..., Any]] = {
    "Conv": conv,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Mul": np.multiply,
    "Add": np.add,
    "Concat": lambda *parts, axis: np.concatenate(parts, axis),
    "Relu": lambda x: np.maximum(x, 0),
    "Slice": lambda x, start, end, axis: x.take(
        range(int(start[0]), min(int(end[0]), x.shape[int(axis[0])])), int(axis[0])
    ),
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdims=True),
    "Flatten": lambda x, axis=1: x.reshape(len(x), -1),
    "Gemm": lambda x, weight, bias, transB=0, **_: x @ (weight.T if transB else weight) + bias,
    "Softmax": softmax,
}


class Session:
    """A loaded engine, which keeps how long each node took."""

    compile_ms: float | None = None

    def __init__(self, engine: Path) -> None:
        self.graph, self.weights = _read(engine)
        self.actual = {
            "provider": "CPU",
            "precision": "fp32",
            "threads": 1,
            "streams": 1,
            "version": version(),
        }
        self.taken: dict[str, list[float]] = defaultdict(list)
        self.shapes: dict[str, list[int]] = {}

    def __call__(self, images: Array) -> list[Array]:
        values = self.weights | {self.graph["input"]: images}
        for node in self.graph["nodes"]:
            start = time.perf_counter()
            found = OPERATORS[node["operator"]](
                *(values[name] for name in node["inputs"]), **node["settings"]
            )
            self.taken[node["name"]].append((time.perf_counter() - start) * 1e3)
            values[node["outputs"][0]] = found
        self.shapes = {name: list(value.shape) for name, value in values.items()}
        return [values[name] for name in self.graph["outputs"]]

    def note(self) -> None: ...

    def nodes(self, count: int) -> list[dict[str, Any]]:
        return [
            {
                "name": node["name"],
                "operator": node["operator"],
                "kernel": "numpy",
                "precision": "fp32",
                "layers": [node["name"]],
                "inputs": [self.shapes[name] for name in node["inputs"]],
                "outputs": [self.shapes[name] for name in node["outputs"]],
                "ms": statistics.median(self.taken[node["name"]][-count:]),
            }
            for node in self.graph["nodes"]
        ]


def version() -> str | None:
    return str(np.__version__)


def compile(model: Artifact, precision: str, options: Mapping[str, str], out: Path) -> Artifact:
    from onnx import helper, numpy_helper

    network = read_onnx(model.path).graph
    nodes = [
        {
            "name": node.name,
            "operator": node.op_type,
            "inputs": list(node.input),
            "outputs": list(node.output),
            "settings": {each.name: helper.get_attribute_value(each) for each in node.attribute},
        }
        for node in network.node
    ]
    (image,) = network.input
    graph = {
        "input": image.name,
        "shape": [dim.dim_value for dim in image.type.tensor_type.shape.dim],
        "outputs": [output.name for output in network.output],
        "nodes": nodes,
    }
    out.mkdir(parents=True, exist_ok=True)
    with (out / ENGINE).open("wb") as stream:
        weights = {one.name: numpy_helper.to_array(one) for one in network.initializer}
        np.savez(stream, **{"": np.array(json.dumps(graph))}, **weights)
    return Artifact.of(out / ENGINE, "engine", precision, parent=model.sha256)


def load(engine: Path, precision: str, threads: int, options: Mapping[str, str]) -> Session:
    return Session(engine)


def count_nodes(
    engine: Path, precision: str, threads: int, options: Mapping[str, str], folder: Path
) -> Session:
    return Session(engine)


def input_shape(engine: Path) -> list[int]:
    shape: list[int] = _read(engine)[0]["shape"]
    return shape


def _read(engine: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    with np.load(engine) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return json.loads(str(arrays.pop(""))), arrays
