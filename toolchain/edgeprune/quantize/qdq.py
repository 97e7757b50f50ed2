"""Static Q/DQ with ONNX Runtime's quantiser: U8S8 for x86, S8S8 for ARM, S8S8 in TensorRT's dialect.

On x86-64, S8 activations leave most convolutions unfused and run slower than float; TensorRT takes nothing
else, and rejects int32 biases and non-zero zero points. Hence one file a runtime.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from edgeprune.artifact import Artifact
from edgeprune.errors import CompileError
from edgeprune.preprocess import load_input
from edgeprune.quantize import CalibrationSet


@dataclass(frozen=True)
class QdqScheme:
    """Types and placement of one Q/DQ scheme.

    Attributes:
        activations: ``u8`` (asymmetric) or ``s8`` (symmetric, zero point 0).
        operators: operator types whose inputs are quantised; empty means all that the quantiser knows.
        bias: whether biases become int32.
    """

    activations: str
    operators: tuple[str, ...] = ()
    bias: bool = True


QDQ_SCHEMES: dict[str, QdqScheme] = {
    "ort-u8s8": QdqScheme("u8"),
    "ort-s8s8": QdqScheme("s8"),
    # Inputs of weighted operators and of the residual Add; never between a convolution and its SiLU, so that
    # TensorRT can fuse them (TensorRT developer guide, "Q/DQ placement recommendations").
    "trt-s8s8": QdqScheme("s8", operators=("Conv", "Add"), bias=False),
}


def quantize(
    model: Artifact, scheme: str, calibration: CalibrationSet, float_nodes: Sequence[str], out: Path
) -> Artifact:
    """Write `out/model.onnx`: weights S8 per channel, activations per tensor, ranges by min and max.

    Args:
        float_nodes: names of the nodes that stay in float.

    Raises:
        CompileError: ONNX Runtime's quantiser failed.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    rules = QDQ_SCHEMES[scheme]
    path = out / "model.onnx"
    logging.getLogger().setLevel(logging.ERROR)  # the quantiser logs advice through the root logger
    try:
        with tempfile.TemporaryDirectory() as folder:
            prepared = Path(folder) / "prepared.onnx"
            quant_pre_process(str(model.path), str(prepared))
            quantize_static(
                str(prepared),
                str(path),
                _Reader(calibration, onnx.load(prepared).graph.input[0].name),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(rules.operators) or None,
                per_channel=True,
                activation_type=QuantType.QUInt8 if rules.activations == "u8" else QuantType.QInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=list(float_nodes),
                calibrate_method=CalibrationMethod.MinMax,
                extra_options=_options(rules),
            )
    except (RuntimeError, ValueError, IndexError, KeyError) as exc:
        raise CompileError(f"{scheme}: quantisation failed: {(str(exc).splitlines() or [''])[0]}") from exc
    _keep_metadata(model.path, path)
    return Artifact.of(path, "onnx", "int8", model.sha256)


def _options(rules: QdqScheme) -> dict[str, Any]:
    options: dict[str, Any] = {
        "ActivationSymmetric": rules.activations == "s8",
        "WeightSymmetric": True,
        "QuantizeBias": rules.bias,
    }
    if rules.operators:
        options["OpTypesToExcludeOutputQuantization"] = list(rules.operators)
    return options


def _keep_metadata(source: Path, target: Path) -> None:
    metadata = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
    quantised = onnx.load(target)
    onnx.helper.set_model_props(quantised, metadata)
    onnx.save(quantised, target)


class _Reader:
    """Feeds calibration images one at a time, so that memory does not grow with their number."""

    def __init__(self, calibration: CalibrationSet, name: str) -> None:
        self._images = iter(calibration.images)
        self._spec = calibration.spec
        self._name = name

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._images, None)
        return None if image is None else {self._name: load_input(image, self._spec)[0]}
