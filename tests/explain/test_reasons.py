"""Why a layer is not faster: each rule speaks where it should, with the numbers, and is silent elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from edgeprune.explain.layer_costs import LayerCost, Weights
from edgeprune.explain.reasons import RULES, Engine, engine_of, why


def kernel(cin: int = 64, cout: int = 64, groups: int = 1, quantized: bool = True, side: int = 3) -> Weights:
    return Weights(shape=(cout, cin // groups, side, side), groups=groups, quantized=quantized)


def cost(**changes: Any) -> LayerCost:
    """Make a dense int8 convolution of 64 channels that runs at 100 GMAC/s and 10 GB/s."""
    fields: dict[str, Any] = {
        "name": "conv", "operator": "QLinearConv", "kernel": "", "kind": "convolution",
        "precision": "int8", "ms": 1.0, "share": 0.1, "side": 40, "channels": (64, 64), "weights": kernel(),
        "macs": 100_000_000, "moved": 10_000_000,
    }  # fmt: skip
    return LayerCost(**fields | changes)


def engine(*others: LayerCost, precision: str = "int8") -> Engine:
    return engine_of([cost(), *others], "onnxruntime", precision, {"int8": 32, "fp32": 16})


def spoken(subject: LayerCost, known: Engine | None = None) -> set[str]:
    return {code for code, rule in RULES.items() if rule(subject, known or engine())}


def test_the_best_layer_is_only_said_to_be_the_best() -> None:
    assert spoken(cost()) == {"rate"}
    assert why(cost(), engine()) == ("runs at 100 GMAC/s, the best of this engine",)


def test_a_slow_layer_is_held_against_the_best() -> None:
    slow = cost(name="slow", ms=4.0)
    assert spoken(slow) == {"rate"}
    assert why(slow, engine()) == (
        "runs at 25 GMAC/s, 25% of the engine's best (conv, int8), at which it would take 1.000 ms",
    )


def test_a_rate_counted_over_a_few_microseconds_is_no_best() -> None:
    flash = cost(name="flash", ms=0.002)
    assert engine(flash).fastest["int8"].name == "conv"


@pytest.mark.parametrize("operator", ["DequantizeLinear", "Reorder"])
def test_a_conversion_computes_nothing(operator: str) -> None:
    node = cost(name="r", operator=operator, kind="reorder, reshape, requantize", weights=None, macs=None,
                precision="fp32", moved=2_000_000)  # fmt: skip
    assert spoken(node) == {"conversion"}
    assert "2.00 MB at 2.0 GB/s, 20% of the engine's best" in why(node, engine())[0]


def test_the_quantizer_of_a_tensor_is_a_conversion_whatever_runs_it() -> None:
    node = cost(name="images/fq_output_0", operator="Subgraph", kind="activation, element-wise left alone",
                precision="fp32", weights=None, macs=None)  # fmt: skip
    assert spoken(node) == {"conversion"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": kernel(quantized=True)}, "no int8 kernel took it"),
        ({"weights": kernel(quantized=False)}, "the file keeps its weights in float"),
        (
            {"weights": None, "macs": None, "side": None, "operator": "Softmax", "kind": "Softmax"},
            "no feature map",
        ),
        (
            {"weights": None, "macs": None, "operator": "Resize", "kind": "pooling, upsampling"},
            "without weights",
        ),
    ],
)
def test_float_in_an_int8_engine_is_told_by_its_cause(changes: dict[str, Any], words: str) -> None:
    node = cost(name="f", precision="fp32", **changes)
    assert "in_float" in spoken(node) and words in why(node, engine())[0]
    assert "in_float" not in spoken(node, engine(precision="fp32"))


def test_the_image_and_odd_widths_are_told_with_the_step() -> None:
    first = cost(weights=kernel(3, 17))
    assert {"image", "off_step"} <= spoken(first)
    reasons = " ".join(why(first, engine()))
    assert "3 input channels in a step of 32" in reasons and "17 output channels, 15 short of 32" in reasons
    assert "input channels," not in reasons  # the image's are told once
    assert "off_step" not in spoken(cost(weights=kernel(32, 96)))
    assert "off_step" not in spoken(cost(precision="bf16", weights=kernel(3, 17)))  # no step is known


def test_depthwise_and_grouped() -> None:
    assert "depthwise: each output value takes 9" in why(cost(weights=kernel(64, 64, 64)), engine())[0]
    assert "in 4 groups: each output value takes 144" in why(cost(weights=kernel(64, 64, 4)), engine())[0]


def test_memory_bound_is_said_only_below_the_ridge_of_measured_rates() -> None:
    copy = cost(
        name="copy", operator="Concat", kind="concat, split", weights=None, macs=None, moved=20_000_000
    )
    thin = cost(name="thin", macs=30_000_000, moved=12_000_000)  # 2.5 a byte; the ridge is 100 / 20 = 5
    reasons = why(thin, engine(copy))
    assert "memory-bound: it moves 12.00 MB at 60% of the best 20.0 GB/s of this engine" in reasons[0]
    assert "for 2.5 multiply-accumulates a byte where its best 100 GMAC/s take 5.0" in reasons[0]
    assert "memory_bound" not in spoken(thin.model_copy(update={"ms": 2.0}), engine(copy))  # 30 % of 20 GB/s
    assert "memory_bound" not in spoken(cost(name="thick", macs=100_000_000, moved=4_000_000), engine(copy))
    assert spoken(copy, engine(copy)) == {"movement"}


def test_a_reference_kernel_is_named() -> None:
    node = cost(name="c", operator="Concat", kernel="ref_I8", kind="concat, split", weights=None, macs=None)
    assert spoken(node) == {"movement", "reference_kernel"} and "ref_I8" in why(node, engine())[1]
