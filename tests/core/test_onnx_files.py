"""ONNX files: what is none is refused in one line; external weights are found as the package `onnx` does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeprune.core.artifact import Artifact, digest_with_weights, parts_of
from edgeprune.core.errors import ModelError
from edgeprune.core.onnx_files import external_files, read_onnx


def write_external(path: Path, names: tuple[str, ...] = ("weights.bin",), value: float = 1.0) -> Path:
    """Write a network whose weights lie in files beside it, one tensor a file; a branch holds some, too."""
    tensors = []
    for index, name in enumerate(names):
        array = np.full((1, 3, 4, 4), value + index, np.float32)
        tensor = numpy_helper.from_array(array, f"w{index}")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, told in (("location", name), ("offset", "0"), ("length", str(array.nbytes))):
            tensor.external_data.add(key=key, value=told)
        (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (path.parent / name).write_bytes(array.tobytes())
        tensors.append(tensor)
    nodes, last = [], "images"
    for tensor in tensors[:-1]:
        nodes.append(helper.make_node("Add", [last, tensor.name], [f"{tensor.name}-sum"]))
        last = f"{tensor.name}-sum"
    nodes.append(helper.make_node("Constant", [], ["inner"], value=tensors[-1]))
    nodes.append(helper.make_node("Add", [last, "inner"], ["out0"]))
    shape = [1, 3, 4, 4]
    value_of = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "external",
        [value_of("images", TensorProto.FLOAT, shape)],
        [value_of("out0", TensorProto.FLOAT, shape)],
        tensors[:-1],
    )
    opsets = [helper.make_opsetid("", 17)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    return path


def test_external_weights_belong_to_the_artifact(tmp_path: Path) -> None:
    path = write_external(tmp_path / "model.onnx", ("w/a.bin", "b.bin"))
    assert parts_of(path) == (path, tmp_path / "b.bin", tmp_path / "w/a.bin")
    before = Artifact.of(path, "onnx", "fp32")
    assert before.size_bytes == path.stat().st_size + 2 * 192
    (tmp_path / "b.bin").write_bytes(bytes(192))
    after = Artifact.of(path, "onnx", "fp32")
    assert after.sha256 != before.sha256
    assert [float(array.sum()) for array in _weights(path)] == [48.0, 0.0]


def _weights(path: Path) -> list[np.ndarray]:
    model = read_onnx(path, weights=True)
    constants = [node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"]
    return [numpy_helper.to_array(tensor) for tensor in [*model.graph.initializer, *constants]]


def test_a_file_without_external_weights_is_hashed_as_it_always_was(convnet: Path) -> None:
    assert external_files(convnet) == ()
    assert digest_with_weights(convnet) == Artifact.of(convnet, "onnx", "fp32").sha256


names = st.lists(
    st.text("abcdef", min_size=1, max_size=3).map("{}.bin".format), min_size=1, max_size=4, unique=True
)


@given(names.map(tuple))
def test_what_is_found_is_what_onnx_finds(
    tmp_path_factory: pytest.TempPathFactory, names: tuple[str, ...]
) -> None:
    path = write_external(tmp_path_factory.mktemp("external") / "model.onnx", names)
    assert {file.name for file in external_files(path)} == set(names)
    onnx.checker.check_model(str(path))


@pytest.mark.parametrize("name", ["../weights.bin", "/etc/passwd", "w\0", ""])
def test_weights_outside_the_folder_are_not_read(tmp_path: Path, name: str) -> None:
    path = write_external(tmp_path / "model.onnx")
    path.write_bytes(path.read_bytes().replace(b"weights.bin", name.encode().ljust(11, b"/")[:11]))
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.node[0].attribute[0].t
    next(entry for entry in tensor.external_data if entry.key == "location").value = name
    path.write_bytes(model.SerializeToString())
    for read in (parts_of, lambda path: read_onnx(path, weights=True)):
        with pytest.raises(ModelError, match="inside this folder") as told:
            read(path)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("length", [0, 191, 400])
def test_weights_that_are_gone_or_cut_off_are_told(tmp_path: Path, length: int) -> None:
    path = write_external(tmp_path / "model.onnx")
    (tmp_path / "weights.bin").write_bytes(bytes(length))
    if length < 192:
        with pytest.raises(ModelError, match="its external weights cannot be read"):
            read_onnx(path, weights=True)
    (tmp_path / "weights.bin").unlink()
    for read in (digest_with_weights, lambda path: read_onnx(path, weights=True)):
        with pytest.raises(ModelError, match=r"weights\.bin: cannot be read: No such file"):
            read(path)


@given(st.binary(max_size=60) | st.binary(max_size=20).map(lambda text: b"location" + text))
def test_any_bytes_are_no_network_and_have_no_weights(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(content)
    assert external_files(path) == ()
    with pytest.raises(ModelError, match="not an ONNX file") as told:
        read_onnx(path)
    assert "\n" not in str(told.value)


def test_gigabytes_of_zeros_are_refused_unread(tmp_path: Path) -> None:
    for size in (2 << 30, 10 << 30):
        with (tmp_path / "zeros.onnx").open("wb") as stream:
            stream.truncate(size)
        with pytest.raises(ModelError, match=r"not an ONNX file|larger than the 2048 MiB"):
            read_onnx(tmp_path / "zeros.onnx")
