"""Why a layer of the final engine is not faster: rules as data, each a function of what was measured.

A rule gives a sentence with its numbers, or None where it does not apply. The best rates are those of this
engine's own layers on this machine: a floor under what the machine can do, and nothing that is looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgeprune.explain.layer_costs import LayerCost

LEAST_MS = 0.02
"""Counters tell whole microseconds: below this time a rate is off by more than 5 %."""
IMAGE_CHANNELS = 4
"""An image has no more channels than this, and a layer that reads no more fills little of a vector."""
SATURATED = 0.5
"""Below this share of the best bandwidth it is not the bytes that hold a layer up."""
FLOATS = ("fp32", "fp16", "bf16")
CONVERSION = "reorder, reshape, requantize"
MB = 1e6


@dataclass(frozen=True)
class Engine:
    """What the rules know of the whole engine.

    Attributes:
        precision: that the row was built in.
        steps: the device's channel step by precision.
        fastest: by precision, the layer with the most multiply-accumulates a second.
        widest: the node with the most bytes a second.
    """

    runtime: str
    precision: str
    steps: Mapping[str, int]
    fastest: Mapping[str, LayerCost]
    widest: LayerCost | None


Rule = Callable[[LayerCost, Engine], str | None]


def engine_of(costs: Sequence[LayerCost], runtime: str, precision: str, steps: Mapping[str, int]) -> Engine:
    """Find the best rates among an engine's nodes."""
    timed = [cost for cost in costs if cost.ms >= LEAST_MS]
    fastest: dict[str, LayerCost] = {}
    for cost in sorted(timed, key=lambda cost: cost.rate or 0.0):
        if cost.rate:
            fastest[cost.precision] = cost
    widest = max(timed, key=lambda cost: cost.bandwidth or 0.0, default=None)
    return Engine(runtime, precision, steps, fastest, widest)


def why(cost: LayerCost, engine: Engine) -> tuple[str, ...]:
    """Return the reasons why a layer is not faster, in the order of `RULES`."""
    return tuple(reason for rule in RULES.values() if (reason := rule(cost, engine)))


def conversion(cost: LayerCost, engine: Engine) -> str | None:
    """Tell of a node that only changes layout or precision for its neighbours."""
    if not _converts(cost):
        return None
    return (
        "computes nothing: it turns values into the layout or precision that its neighbours take; "
        f"{_copied(cost, engine)}"
    )


def in_float(cost: LayerCost, engine: Engine) -> str | None:
    """Tell why a layer of an int8 engine runs in float."""
    if engine.precision != "int8" or cost.precision not in FLOATS or _converts(cost):
        return None
    if cost.weights and cost.weights.quantized:
        return (
            f"its weights are int8, and {engine.runtime} runs it in {cost.precision}: no int8 kernel took it"
        )
    if cost.side is None:
        return f"runs in {cost.precision} in an int8 engine: what it gives is no feature map"
    if cost.weights:
        return f"runs in {cost.precision} in an int8 engine: the file keeps its weights in float"
    return f"runs in {cost.precision} in an int8 engine, without weights of its own"


def image(cost: LayerCost, engine: Engine) -> str | None:
    """Tell of a layer, mostly the first, whose few input channels leave most of a vector empty."""
    step = engine.steps.get(cost.precision)
    if not cost.weights or not step or cost.weights.groups > 1 or cost.weights.channels[0] > IMAGE_CHANNELS:
        return None
    return f"few inputs: {cost.weights.channels[0]} input channels in a step of {step}"


def off_step(cost: LayerCost, engine: Engine) -> str | None:
    """Tell of widths that are no multiple of the device's step."""
    step = engine.steps.get(cost.precision)
    if not cost.weights or not step or cost.weights.groups > 1:
        return None
    sides = zip(("input", "output"), cost.weights.channels, strict=True)
    off = [
        f"{count} {side} channels, {-count % step} short of {count + -count % step}"
        for side, count in sides
        if count % step and not (side == "input" and count <= IMAGE_CHANNELS)
    ]
    return f"off the step of {step} channels: {' and '.join(off)}" if off else None


def grouped(cost: LayerCost, engine: Engine) -> str | None:
    """Tell of depthwise and grouped convolutions, which reuse little of what they read."""
    if not cost.weights or cost.weights.groups == 1:
        return None
    kind = "depthwise" if cost.weights.shape[1] == 1 else f"in {cost.weights.groups} groups"
    return f"{kind}: each output value takes {_each(cost)} multiply-accumulates only"


def memory_bound(cost: LayerCost, engine: Engine) -> str | None:
    """Tell of a layer below the ridge of the roofline of this engine's best rates, and near its slope.

    Williams et al., "Roofline: an insightful visual performance model", 2009.
    """
    best, widest = engine.fastest.get(cost.precision), engine.widest
    if not cost.intensity or not best or not best.rate or not widest or not widest.bandwidth:
        return None
    ridge, reached = best.rate / widest.bandwidth, (cost.bandwidth or 0.0) / widest.bandwidth
    if cost.intensity >= ridge or reached < SATURATED:
        return None
    return (
        f"memory-bound: it moves {cost.moved / MB:.2f} MB at {reached:.0%} of the best "
        f"{widest.bandwidth:.1f} GB/s of this engine, for {cost.intensity:.1f} multiply-accumulates a byte "
        f"where its best {best.rate:.0f} GMAC/s take {ridge:.1f}"
    )


def movement(cost: LayerCost, engine: Engine) -> str | None:
    """Tell of a node that multiplies no weights: its time is that of its bytes."""
    if cost.macs or cost.kind == "convolution" or _converts(cost):
        return None
    return f"multiplies no weights: {_copied(cost, engine)}"


def reference_kernel(cost: LayerCost, engine: Engine) -> str | None:
    """Tell of a node for which the runtime has no kernel of its own for this processor."""
    if not cost.kernel.startswith("ref"):
        return None
    return f"{engine.runtime} runs it by its plain kernel ({cost.kernel})"


def rate(cost: LayerCost, engine: Engine) -> str | None:
    """Tell how fast a layer computes beside the engine's best."""
    best = max(engine.fastest.values(), key=lambda one: one.rate or 0.0, default=None)
    if not cost.rate:
        return None
    if best is None or not best.rate or cost.rate >= best.rate:
        return f"runs at {cost.rate:.0f} GMAC/s, the best of this engine"
    ideal = (cost.macs or 0) / best.rate / 1e6
    return (
        f"runs at {cost.rate:.0f} GMAC/s, {cost.rate / best.rate:.0%} of the engine's best ({best.title}, "
        f"{best.precision}), at which it would take {ideal:.3f} ms"
    )


RULES: dict[str, Rule] = {
    "conversion": conversion,
    "in_float": in_float,
    "image": image,
    "off_step": off_step,
    "grouped": grouped,
    "memory_bound": memory_bound,
    "movement": movement,
    "reference_kernel": reference_kernel,
    "rate": rate,
}


def _converts(cost: LayerCost) -> bool:
    # NNCF calls the quantizer of a tensor TENSOR/fq_output_0; OpenVINO runs it in a subgraph of its own.
    return cost.kind == CONVERSION or "/fq_output" in cost.name


def _each(cost: LayerCost) -> int:
    _, *kernel = cost.weights.shape if cost.weights else ()
    product = 1
    for size in kernel:
        product *= size
    return product


def _copied(cost: LayerCost, engine: Engine) -> str:
    told = f"{cost.moved / MB:.2f} MB at {cost.bandwidth or 0:.1f} GB/s"
    widest = engine.widest
    if widest is None or widest.name == cost.name or not widest.bandwidth:
        return told
    return f"{told}, {(cost.bandwidth or 0) / widest.bandwidth:.0%} of the engine's best"
