"""An ONNX file becomes a network that computes what ONNX Runtime does, or a line says why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from edgeprune.adapters.onnx.loading import load_onnx
from edgeprune.core.errors import ConfigError, EdgepruneError
from made_onnx import Cells, exported, written

node = helper.make_node


def test_layers_keep_their_names_and_gates_and_splits_become_layers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Cells()
    network = load_onnx(exported(model, tmp_path / "net.onnx"), None)
    names = {step.name: step.kind for step in network.plan.steps}
    assert {"stem.0", "block.0", "squeeze", "inner", "depthwise", "head"} <= names.keys()
    assert names["stem.2"] == "SiLU" and {"cv1_part0", "cv1_part1"} <= names.keys()
    assert "Split" not in names.values() and "Sigmoid" in names.values()
    image = torch.rand(2, 3, 24, 32)
    with torch.no_grad():
        assert torch.allclose(network(image)[0], model(image), atol=1e-5)  # also of a batch of two


def test_open_sides_take_the_size_that_is_asked_for(tmp_path: Path) -> None:
    path = exported(Cells(), tmp_path / "net.onnx", is_open=True)
    assert load_onnx(path, (16, 24)).told["imgsz"] == [16, 24]
    with pytest.raises(ConfigError, match=r"its input \(open, 3, open, open\) has no size.*give --imgsz"):
        load_onnx(path, None)
    fixed = exported(Cells(), tmp_path / "fixed.onnx")
    with pytest.raises(ConfigError, match=r"--imgsz: .*fixed\.onnx is fixed at 24x32 pixels"):
        load_onnx(fixed, 64)


@pytest.mark.parametrize("opset", [9, 11, 13, 20])
def test_older_and_newer_opsets_are_read(opset: int, tmp_path: Path) -> None:
    path, image = (
        exported(model := Cells().eval(), tmp_path / "net.onnx", opset=opset),
        torch.rand(1, 3, 24, 32),
    )
    assert torch.allclose(load_onnx(path, None)(image)[0], model(image), atol=1e-5)


WEIGHTS = {"w": np.ones((4, 3, 3, 3), np.float32), "g": np.ones((1, 3, 1, 1), np.float32)}
WINDOW = {"kernel_shape": [3, 3], "strides": [2, 2]}
READ: dict[str, list[onnx.NodeProto]] = {
    "padding on one side": [node("Conv", ["x", "w"], ["y"], pads=[0, 0, 1, 1], strides=[2, 2])],
    "padding that follows": [node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER", strides=[2, 2])],
    "maximum with padding": [node("MaxPool", ["x"], ["y"], pads=[0, 0, 1, 1], **WINDOW)],
    "mean with padding": [node("AveragePool", ["x"], ["y"], pads=[1, 1, 1, 1], **WINDOW)],
    "spaces and depths": [
        node("SpaceToDepth", ["x"], ["a"], blocksize=2), node("DepthToSpace", ["a"], ["y"], blocksize=2),
    ],
    "a constant times each channel": [node("Mul", ["x", "g"], ["a"]), node("HardSigmoid", ["a"], ["y"])],
    "reductions": [node("ReduceL2", ["x"], ["a"], axes=[1]), node("Reciprocal", ["a"], ["b"]),
                   node("Mul", ["x", "b"], ["y"])],
}  # fmt: skip


@pytest.mark.parametrize("what", READ)
def test_what_exporters_of_other_frameworks_write_is_read(what: str, tmp_path: Path) -> None:
    network = load_onnx(written(tmp_path / "net.onnx", READ[what], weights=WEIGHTS), None)
    assert network(torch.rand(2, 3, 8, 8))[0].shape[0] == 2


def test_colours_last_are_taken_first_where_the_file_turns_them(tmp_path: Path) -> None:
    turn = node("Transpose", ["x"], ["a"], perm=[0, 3, 1, 2])
    nodes = [turn, node("Conv", ["a", "w"], ["y"])]
    last = {"x": (1, 8, 8, 3)}
    network = load_onnx(written(tmp_path / "net.onnx", nodes, last, WEIGHTS), None)
    assert network(torch.rand(1, 3, 8, 8))[0].shape == (1, 4, 6, 6)
    with pytest.raises(EdgepruneError, match=r"\(1, 8, 8, 3\) has the colours last \(NHWC\); export it"):
        load_onnx(written(tmp_path / "odd.onnx", [node("Relu", ["x"], ["y"])], last), None)


RELU = [node("Relu", ["x"], ["y"])]
BRANCH = helper.make_graph(
    [node("Relu", ["x"], ["z"])], "branch", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)]
)
FAULTS: dict[str, tuple[dict[str, object], str]] = {
    "control flow": (
        {"nodes": [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Cast", ["s"], ["c"], to=9),
                   node("If", ["c"], ["y"], then_branch=BRANCH, else_branch=BRANCH)]},
        r"it has control flow \(If\), which cannot be pruned; export the network alone",
    ),
    "operators": (
        {"nodes": [node("Det", ["x"], ["a"]), node("Mine", ["x"], ["b"], domain="com.mine"),
                   node("Add", ["a", "b"], ["y"])]},
        r"operators that cannot be pruned: Det, com\.mine\.Mine; export",
    ),
    "several inputs": (
        {"nodes": [node("Add", ["x", "z"], ["y"])], "inputs": {"x": (1, 3, 8, 8), "z": (1, 3, 8, 8)}},
        r"it takes 2 inputs \(x, z\); one image is needed",
    ),
    "a fixed batch": ({"nodes": RELU, "inputs": {"x": (4, 3, 8, 8)}}, r"a batch of 4; export it with"),
    "grey images": ({"nodes": RELU, "inputs": {"x": (1, 1, 8, 8)}}, r"images of 3 colours are needed"),
    "no image": ({"nodes": RELU, "inputs": {"x": (1, 8)}}, r"a batch of images \(n, 3, height, width\)"),
    "too old": ({"nodes": RELU, "opset": 6}, r"opset 6 is older than 7, the oldest that is read"),
    "too new": ({"nodes": RELU, "opset": 99}, r"opset 99 is newer than \d+, the newest that"),
    "quantized": (
        {"nodes": [node("QuantizeLinear", ["x", "s"], ["a"]), node("DequantizeLinear", ["a", "s"], ["y"])],
         "weights": {"s": np.array(0.1, np.float32)}},
        r"it is quantized already \(DequantizeLinear, QuantizeLinear\); give the float file",
    ),
    "a computed weight": ({"nodes": [node("Conv", ["x", "x"], ["y"])]}, r"its weight is computed from"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_read_is_one_line(fault: str, tmp_path: Path) -> None:
    told, wanted = FAULTS[fault]
    with pytest.raises(EdgepruneError, match=wanted) as caught:
        load_onnx(written(tmp_path / "net.onnx", **told), None)  # type: ignore[arg-type]
    assert str(caught.value).startswith(str(tmp_path / "net.onnx")) and "\n" not in str(caught.value)


def test_weights_beside_the_file_are_read_and_missed(tmp_path: Path) -> None:
    path = exported(Cells(), tmp_path / "net.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="net.data", size_threshold=0)
    load_onnx(path, None)
    (tmp_path / "net.data").unlink()
    with pytest.raises(EdgepruneError, match=r"net\.data: cannot be read"):
        load_onnx(path, None)
    (tmp_path / "net.onnx").write_bytes(b"no onnx file")
    with pytest.raises(EdgepruneError, match=r"not an ONNX file"):
        load_onnx(path, None)
