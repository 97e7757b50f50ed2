"""The layers' worker, run for real: every kind of micro-network in the schemes of both CPU runtimes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeprune.backends import get_backend
from edgeprune.latency.micronet import layer_net, write_micronet
from edgeprune.records.latency_table import Shape

DENSE = Shape(kernel=(3, 3), stride=2, groups="dense", height=16, width=16, activation="SiLU")
TALL = Shape(kernel=(3, 1), stride=(2, 1), groups=4, height=16, width=16, activation="Identity")
DEEP = Shape(kernel=(3, 3), stride=1, groups="depthwise", height=16, width=16, activation="ReLU6")


def run(job: dict[str, object], folder: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    (folder / "job.json").write_text(json.dumps(job))
    out = folder / "out.json"
    args = [sys.executable, "-m", "edgeprune.worker.layers", str(folder / "job.json"), str(out)]
    return subprocess.run(args, capture_output=True, text=True, check=False), out


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_every_network_is_visited_in_every_round(backend: str, tmp_path: Path) -> None:
    scheme, batch = {"onnxruntime": ("ort-u8s8", 1), "openvino": ("nncf", 2)}[backend]
    net = layer_net(DENSE, 8, 16)
    nets = []
    for index, each in enumerate((net, net.around[0], layer_net(DEEP, 8, 8))):
        path = write_micronet(each, "int8", scheme, tmp_path / f"{index}.onnx", batch)
        nets.append({"name": each.name, "engine": str(path), "size": [16, 16]})
    job = {
        "backend": backend, "precision": "int8", "threads": 1, "options": {}, "environment": {},
        "nets": nets, "archive": None, "compiles": False, "batch": batch,
        "rounds": 3, "queries": 2, "seconds": 0.0,
    }  # fmt: skip
    ended, out = run(job, tmp_path)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(out.read_text())
    assert report["version"] == get_backend(backend).version()
    assert {name: len(values) for name, values in report["rounds_ns"].items()} == {
        "3x3 stride 2 SiLU at 16x16 8-16": 3, "none at 16x16 8-8": 3, "3x3 depthwise ReLU6 at 16x16 8-8": 3,
    }  # fmt: skip
    assert all(value > 0 for values in report["rounds_ns"].values() for value in values)
    shares = [json.loads(line)["share"] for line in ended.stdout.splitlines()]
    assert shares[-1] == 1.0


def test_an_engine_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    job = {
        "backend": "onnxruntime", "precision": "fp32", "threads": 1, "options": {}, "environment": {},
        "nets": [{"name": "x", "engine": str(tmp_path / "broken.onnx"), "size": [16, 16]}],
        "archive": None, "compiles": False, "batch": 1, "rounds": 1, "queries": 1, "seconds": 0.0,
    }  # fmt: skip
    ended, out = run(job, tmp_path)
    assert ended.returncode == 5
    assert "broken.onnx: ONNX Runtime cannot load this graph" in ended.stderr.splitlines()[-1]
    assert not out.exists()


@pytest.mark.parametrize("shape", [DENSE, DEEP, TALL])
@pytest.mark.parametrize(("backend", "scheme"), [("onnxruntime", "ort-u8s8"), ("openvino", "nncf")])
def test_int8_convolutions_really_run_in_integers(
    shape: Shape, backend: str, scheme: str, tmp_path: Path
) -> None:
    path = write_micronet(layer_net(shape, 16, 16), "int8", scheme, tmp_path / "net.onnx")
    assert (get_backend(backend).quantized_ops(path) or 0) >= 2  # the layer, and what reads it


@pytest.mark.parametrize(
    "activation", ["SiLU", "ReLU", "ReLU6", "Hardswish", "LeakyReLU", "Sigmoid", "Identity"]
)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_activation_can_be_built(activation: str, precision: str, tmp_path: Path) -> None:
    shape = DENSE.model_copy(update={"activation": activation})
    path = write_micronet(layer_net(shape, 8, 24), precision, "ort-u8s8", tmp_path / "net.onnx")
    onnx.checker.check_model(onnx.load(path), full_check=True)
    (out,) = get_backend("onnxruntime").load(path, precision, 1, {})(np.zeros((1, 3, 16, 16), np.float32))
    assert out.shape == (1, 16, 8, 8)


def test_a_stride_along_one_axis_and_groups_are_built_as_said(tmp_path: Path) -> None:
    path = write_micronet(layer_net(TALL, 8, 24), "fp32", "", tmp_path / "net.onnx")
    conv = next(node for node in onnx.load(path).graph.node if "c2" in node.input)
    told = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in conv.attribute}
    assert told == {"kernel_shape": [3, 1], "strides": [2, 1], "pads": [1, 0, 1, 0], "group": 4}
    (out,) = get_backend("onnxruntime").load(path, "fp32", 1, {})(np.zeros((1, 3, 16, 16), np.float32))
    assert out.shape == (1, 16, 8, 16)


@pytest.mark.parametrize(("activation", "operators"), [("Hardsigmoid", ["HardSigmoid"]), ("PReLU", [])])
def test_an_activation_is_timed_with_its_layer_where_it_is_known(
    tmp_path: Path, activation: str, operators: list[str]
) -> None:
    shape = DENSE.model_copy(update={"activation": activation})
    path = write_micronet(layer_net(shape, 8, 8), "fp32", "", tmp_path / "net.onnx")
    graph = onnx.load(path).graph
    assert [node.op_type for node in graph.node if node.op_type != "Conv"] == operators
    assert get_backend("onnxruntime").load(path, "fp32", 1, {})(np.zeros((1, 3, 16, 16), np.float32))
