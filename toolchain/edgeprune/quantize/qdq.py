"""Static Q/DQ with ONNX Runtime's quantiser, in the types and places that `schemes` lists."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from edgeprune.artifact import Artifact
from edgeprune.errors import CompileError, EdgepruneError
from edgeprune.quantize import CalibrationSet
from edgeprune.quantize.calibration import (
    Ranges,
    calibrated_tensors,
    observe,
    ranges_of,
    read_ranges,
    write_ranges,
)
from edgeprune.quantize.schemes import QDQ_SCHEMES, QdqScheme, reduces_range
from edgeprune.quantize.selection import require_content

RANGES: Final = "ranges.json"


def quantize(
    model: Artifact, scheme: str, calibration: CalibrationSet, float_nodes: Sequence[str], out: Path
) -> Artifact:
    """Write `out/model.onnx` with Q/DQ nodes as the scheme has them.

    Args:
        float_nodes: names of the nodes that stay in float.

    Raises:
        CompileError: ONNX Runtime's quantiser failed.
        DataError: a calibration image cannot be read.
    """
    rules = QDQ_SCHEMES[scheme]
    path = out / "model.onnx"
    with _one_line(scheme):
        prepared = _prepared(model)
        table = calibration.ranges
        ranges = read_ranges(table) if table else _measured(prepared, rules, calibration)
        onnx.save(_quantised(prepared, rules, ranges, float_nodes), path)
    _keep_metadata(model.path, path)
    return Artifact.of(path, "onnx", "int8", model.sha256)


def calibrate(model: Artifact, scheme: str, calibration: CalibrationSet, out: Path) -> Path:
    """Write `out/ranges.json`: read once, they serve `quantize` with any choice of float nodes.

    Raises:
        CompileError: ONNX Runtime cannot run the network.
        DataError: there are no images, none of them shows anything, or one cannot be read.
    """
    require_content(calibration.images)
    with _one_line(scheme):
        ranges = _measured(_prepared(model), QDQ_SCHEMES[scheme], calibration)
    return write_ranges(ranges, out / RANGES)


@contextmanager
def _one_line(scheme: str) -> Iterator[None]:
    logging.getLogger().setLevel(logging.ERROR)  # the quantiser logs advice through the root logger
    try:
        yield
    except EdgepruneError:
        raise
    except Exception as exc:  # ONNX Runtime's exceptions share no base class of their own
        raise CompileError(f"{scheme}: quantisation failed: {(str(exc).splitlines() or [''])[0]}") from exc


def _prepared(model: Artifact) -> onnx.ModelProto:
    """Return the float network with constants folded, and with the type of every tensor."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prepared.onnx"
        quant_pre_process(str(model.path), str(path))
        return onnx.shape_inference.infer_shapes(onnx.load(path))


def _operators(rules: QdqScheme) -> list[str]:
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return list(rules.operators) or sorted({*QDQRegistry, *QLinearOpsRegistry})


def _measured(prepared: onnx.ModelProto, rules: QdqScheme, calibration: CalibrationSet) -> Ranges:
    tensors = calibrated_tensors(prepared, rules, _operators(rules))
    return ranges_of(observe(prepared, tensors, calibration), calibration.method, rules.symmetric)


def _quantised(
    prepared: onnx.ModelProto, rules: QdqScheme, ranges: Ranges, float_nodes: Sequence[str]
) -> onnx.ModelProto:
    """Put in the Q/DQ nodes; `prepared` is not to be used any more."""
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    data = {
        name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
        for name, (low, high) in ranges.items()
    }
    quantizer = QDQQuantizer(
        prepared,
        rules.per_channel,
        reduces_range(rules),
        QuantType.QInt8,
        QuantType.QUInt8 if rules.activations == "u8" else QuantType.QInt8,
        TensorsData(CalibrationMethod.MinMax, data),
        [],
        list(float_nodes),
        _operators(rules),
        _options(rules),
    )
    quantizer.quantize_model()
    return quantizer.model.model


def _options(rules: QdqScheme) -> dict[str, Any]:
    options: dict[str, Any] = {
        "ActivationSymmetric": rules.symmetric,
        "WeightSymmetric": True,
        "QuantizeBias": rules.bias == "int32",
    }
    if not rules.outputs:
        options["OpTypesToExcludeOutputQuantization"] = list(rules.operators)
    return options


def _keep_metadata(source: Path, target: Path) -> None:
    metadata = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
    quantised = onnx.load(target)
    onnx.helper.set_model_props(quantised, metadata)
    onnx.save(quantised, target)
