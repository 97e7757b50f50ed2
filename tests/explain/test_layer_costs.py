"""What a node computes and moves: the same network says the same in ONNX and in OpenVINO's IR."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.backends import get_backend, options_for
from edgeprune.bench.node_times import NodeTime, node_times
from edgeprune.bench.testbed import local
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import ModelError
from edgeprune.explain.layer_costs import Weights, feature_map, layer_costs, weights_of
from edgeprune.images.preprocess import Preprocess
from made_effort import TINY_EFFORT

MACS = {"dense": 32 * 32 * 8 * 27, "deep": 32 * 32 * 8 * 9}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a dense and a depthwise 3x3 convolution of 8 channels on a 3x32x32 image."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in {"w0": (8, 3, 3, 3), "w1": (8, 1, 3, 3)}.items()
    ]
    nodes = [
        helper.make_node("Conv", ["images", "w0"], ["a"], name="dense", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w1"], ["c"], name="deep", pads=[1] * 4, group=8),
        helper.make_node("Relu", ["c"], ["d"], name="end"),
    ]
    shapes = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 32, 32])
              for name, channels in {"images": 3, "d": 8}.items()}  # fmt: skip
    graph = helper.make_graph(nodes, "net", [shapes["images"]], [shapes["d"]], weights)
    path = tmp_path_factory.mktemp("network") / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def engines(network: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    model = Artifact.of(network, "onnx", "fp32")
    return {
        profile.backend: get_backend(profile.backend).compile(
            model, "fp32", options_for(profile, "fp32"), tmp_path_factory.mktemp(profile.backend)
        )
        for profile in resolve_targets(("cpu",))
    }


def test_weights_of_both_formats_are_the_same(engines: dict[str, Artifact]) -> None:
    expected = {
        "dense": Weights(shape=(8, 3, 3, 3), groups=1, quantized=False),
        "deep": Weights(shape=(8, 1, 3, 3), groups=8, quantized=False),
    }
    for engine in engines.values():
        found = weights_of(engine.path)
        assert {name: found[name] for name in expected} == expected
    assert expected["deep"].channels == (8, 8) and expected["dense"].channels == (3, 8)


def test_weights_that_the_file_holds_as_integers_are_told(convnet_int8: Path) -> None:
    found = weights_of(convnet_int8)
    assert found["conv0"] == Weights(shape=(16, 3, 3, 3), groups=1, quantized=True)
    assert found["conv1"] == Weights(shape=(16, 16, 3, 3), groups=1, quantized=True)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_every_runtime_counts_the_same_work(
    backend: str, engines: dict[str, Artifact], random_images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend not in engines:
        pytest.skip("no profile of this machine runs it")
    engine = engines[backend]
    profile = next(one for one in resolve_targets(("cpu",)) if one.backend == backend)
    told = node_times(
        engine, profile, 1, Preprocess(32), local(replace(TINY_EFFORT, inferences=10)), images=random_images
    )
    costs = layer_costs(told.nodes, weights_of(engine.path), 32)
    counted = sorted((cost for cost in costs if cost.weights), key=lambda cost: -(cost.macs or 0))
    assert [cost.weights.groups for cost in counted if cost.weights] == [1, 8]
    for one, macs in zip(counted, MACS.values(), strict=True):
        # ONNX Runtime fills blocks of 8 or 16 channels: it may write twice the 8 that the layer has.
        assert one.macs in (macs, 2 * macs) and one.side == 32 and one.precision == "fp32"
        assert one.rate == pytest.approx(one.macs / one.ms / 1e6)
    assert [cost.ms for cost in costs] == sorted((cost.ms for cost in costs), reverse=True)
    assert sum(cost.share for cost in costs) == pytest.approx(1)


def node(**changes: Any) -> NodeTime:
    fields: dict[str, Any] = {
        "name": "conv", "operator": "QLinearConv", "kernel": "", "precision": "int8", "layers": (),
        "inputs": ((1, 32, 32, 3), (), (8,)), "outputs": ((1, 32, 32, 8),), "ms": 2.0,
    }  # fmt: skip
    return NodeTime(**fields | changes)


@pytest.mark.parametrize("name", ["conv", "conv_token_19", "conv_quant", "conv_nhwc", "conv/WithoutBiases"])
def test_a_rewritten_node_is_still_the_layer_of_the_file(name: str) -> None:
    weights = {"conv": Weights(shape=(8, 3, 3, 3), groups=1, quantized=True)}
    (cost,) = layer_costs([node(name=name)], weights, 32)
    assert cost.macs == 32 * 32 * 8 * 27
    assert cost.moved == 32 * 32 * (3 + 8) + 8 * 27  # a byte each
    assert cost.channels == (3, 8) and cost.share == 1 and cost.title == "conv"


def test_an_integer_concatenation_is_not_float_for_its_scale() -> None:
    told = node(operator="QLinearConcat", precision="fp32", inputs=((), (), (1, 32, 32, 8)))
    (cost,) = layer_costs([told], {}, 32)
    assert cost.precision == "int8" and cost.moved == 32 * 32 * 16


def test_a_product_multiplies_over_the_last_axis_and_floats_are_four_bytes() -> None:
    told = node(name="fc", operator="Gemm", precision="fp32", inputs=((1, 64), (64, 10)), outputs=((1, 10),))
    (cost,) = layer_costs([told], {}, 32)
    assert cost.macs == 640 and cost.moved == 4 * (64 + 640 + 10) and cost.side is None


def test_no_time_at_all_divides_by_nothing() -> None:
    (cost,) = layer_costs([node(ms=0.0)], {}, 32)
    assert cost.share == 0 and cost.bandwidth is None and cost.rate is None


def test_only_a_square_map_whose_side_divides_the_image_is_one() -> None:
    assert feature_map([1, 8, 40, 40], 320) == (40, 8)
    assert feature_map([1, 40, 40, 8], 320) == (40, 8)
    assert feature_map([1, 100, 100, 4], 320) is None  # an attention matrix
    assert feature_map([1, 16, 2100], 320) is None


def test_a_file_that_is_no_network_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("<net")
    for path in (tmp_path, tmp_path / "gone.onnx"):
        with pytest.raises(ModelError, match=r"not valid XML|cannot be read: No such file"):
            weights_of(path)
