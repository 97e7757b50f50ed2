"""What each Q/DQ scheme puts where: one literal table, which quantizer, micro-networks and cache keys read.

On x86-64, S8 activations leave most convolutions unfused and run slower than float; TensorRT takes nothing
else, and rejects int32 biases and non-zero zero points. Hence one file a runtime.
"""

from __future__ import annotations

import platform
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgeprune.worker.sensors.cpu import read_cpu_flags

WIDE_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
"""Flags of x86 CPUs that add products of u8 and s8 in 32 bits at once."""


@dataclass(frozen=True)
class QdqScheme:
    """Types and placement of one Q/DQ scheme; weights are symmetric, with zero point 0.

    Attributes:
        activations: ``u8`` (asymmetric) or ``s8`` (symmetric, zero point 0), one scale a tensor.
        operators: operator types that are quantized; empty means all that the quantizer knows.
        outputs: whether Q/DQ stand behind these operators too, or only before them.
        bias: ``int32``, with the scale of input times weight, or ``float``.
        weights: their type.
        per_channel: whether weights have one scale for each output channel.
        reduce_range: when weights keep to 7 bits: ``x86 without vnni`` or ``never``. There, `vpmaddubsw` adds
            two products of u8 and s8 in 16 bits and saturates (ONNX Runtime's documentation, "Quantize ONNX
            models", section "When to use reduce-range").
        rest: what computes everything else: ``float`` is float32, ``fp16`` is baked into the file.
        fallback: what the accuracy guard gives a layer that int8 harms: ``float``, or ``u16``, activations of
            16 bits with the same weights.
    """

    activations: Literal["u8", "s8", "u16"]
    operators: tuple[str, ...] = ()
    outputs: bool = True
    bias: Literal["int32", "float"] = "int32"
    weights: Literal["s8"] = "s8"
    per_channel: bool = True
    reduce_range: Literal["x86 without vnni", "never"] = "never"
    rest: Literal["float", "fp16"] = "float"
    fallback: Literal["float", "u16"] = "float"

    @property
    def symmetric(self) -> bool:
        """Whether activation ranges are symmetric around 0."""
        return self.activations == "s8"


QDQ_SCHEMES: dict[str, QdqScheme] = {
    "ort-u8s8": QdqScheme("u8", reduce_range="x86 without vnni"),
    "ort-s8s8": QdqScheme("s8", reduce_range="x86 without vnni"),
    # Inputs of weighted operators and of the residual Add; never between a convolution and its SiLU, so that
    # TensorRT can fuse them (TensorRT developer guide, "Q/DQ placement recommendations"). Strongly typed, it
    # computes the rest as the file says: in float32, SiLU and Concat would take twice the memory traffic.
    "trt-s8s8": QdqScheme("s8", operators=("Conv", "Add"), outputs=False, bias="float", rest="fp16"),
    # Hexagon computes U8 and U16 activations, and not every one of its generations computes floats.
    "qnn-u8s8": QdqScheme("u8", fallback="u16"),
    "qnn-u16s8": QdqScheme("u16"),
}


def reduces_range(rules: QdqScheme, machine: str | None = None, flags: Collection[str] | None = None) -> bool:
    """Return whether weights keep to 7 bits on a CPU; on this one by default.

    A CPU whose flags cannot be read is taken for a newer one.
    """
    machine = platform.machine() if machine is None else machine
    flags = read_cpu_flags() if flags is None else flags
    old = machine == "x86_64" and bool(flags) and WIDE_PRODUCTS.isdisjoint(flags)
    return rules.reduce_range == "x86 without vnni" and old


def describe(scheme: str) -> dict[str, Any]:
    """Return the rules of a scheme on this CPU as JSON-like data; of a scheme that is not Q/DQ, its name."""
    rules = QDQ_SCHEMES.get(scheme)
    if rules is None:
        return {"scheme": scheme}
    return {"scheme": scheme} | asdict(rules) | {"reduce_range": reduces_range(rules)}
