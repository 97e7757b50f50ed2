"""The outline of an ONNX file is what the package `onnx` reads; what is no ONNX file ends as one error."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import ModelError
from edgeprune.core.onnx_outline import Node, Outline, Value, read_outline


def by_onnx(path: Path) -> Outline:
    """Return the outline as the package `onnx` tells it."""
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    weights = tuple(Value(one.name, one.data_type, tuple(one.dims)) for one in graph.initializer)
    names = {one.name for one in weights}
    inputs = tuple(
        Value(
            one.name,
            one.type.tensor_type.elem_type,
            tuple(dim.dim_value for dim in one.type.tensor_type.shape.dim),
        )
        for one in graph.input
        if one.name not in names
    )
    nodes = tuple(
        Node(
            one.op_type,
            one.domain,
            one.name,
            tuple(one.input),
            tuple(one.output),
            {entry.name: entry.i for entry in one.attribute if entry.type == onnx.AttributeProto.INT},
        )
        for one in graph.node
    )
    return Outline(nodes, inputs, weights, {entry.key: entry.value for entry in model.metadata_props})


def test_a_convnet_and_its_int8_form(convnet: Path, convnet_int8: Path) -> None:
    for path in (convnet, convnet_int8):
        assert read_outline(path) == by_onnx(path)


def test_the_exported_families(float_models: dict[str, tuple[Artifact, object]]) -> None:
    for artifact, *_ in float_models.values():
        found = read_outline(artifact.path)
        assert found == by_onnx(artifact.path)
        assert "edgeprune.preprocess" in found.metadata and len(found.nodes) > 50


def odd_model() -> onnx.ModelProto:
    """Return a model with free sides, weights among the inputs, a negative attribute, names in no ASCII."""
    weight = numpy_helper.from_array(onnx.numpy_helper.np.ones((4, 3, 1, 1), "float32"), "weißt")
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT16, ["batch", 3, None, 32])
    listed = helper.make_tensor_value_info("weißt", TensorProto.FLOAT, [4, 3, 1, 1])
    nodes = [
        helper.make_node("Conv", ["images", "weißt"], ["c"], "naïve", group=1, auto_pad="VALID"),
        helper.make_node("Softmax", ["c"], ["s"], axis=-1),
        helper.make_node("Odd", ["s", ""], ["o", "p"], domain="com.example"),
    ]
    output = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph(nodes, "odd", [listed, image], [output], [weight]))
    helper.set_model_props(model, {"edgeprune.preprocess": "{}", "author": "Ångström"})
    return model


def test_free_sides_old_lists_of_inputs_and_domains(tmp_path: Path) -> None:
    onnx.save(odd_model(), tmp_path / "odd.onnx")
    found = read_outline(tmp_path / "odd.onnx")
    assert found == by_onnx(tmp_path / "odd.onnx")
    assert found.inputs == (Value("images", TensorProto.FLOAT16, (0, 3, 0, 32)),)
    assert found.nodes[1].integers == {"axis": -1}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip file", b"\x00" * 64, b"\x08\x08"])
def test_what_is_no_onnx_file_is_one_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"no\.onnx: not an ONNX file: "):
        read_outline(tmp_path / "no.onnx")


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(odd_model().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "damaged.onnx").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = read_outline(tmp_path / "damaged.onnx")
    except ModelError as exc:
        assert "not an ONNX file" in str(exc)
    else:
        assert found.nodes or found.inputs
