"""Static Q/DQ with ONNX Runtime's quantizer, in the types and places that `schemes` lists."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import numpy_helper

from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError, EdgepruneError, shorten
from edgeprune.core.onnx_files import read_onnx
from edgeprune.quantize import CalibrationSet
from edgeprune.quantize.bias import Kernel, correct_biases, map_kernels
from edgeprune.quantize.calibration import Table, calibrated_tensors, measure_ranges, read_table, write_table
from edgeprune.quantize.equalise import equalise
from edgeprune.quantize.schemes import QDQ_SCHEMES, QdqScheme, reduces_range
from edgeprune.quantize.selection import require_content

PACKAGES = ("onnx", "onnxruntime")
TABLE: Final = "table.json"


def quantize(
    model: Artifact,
    scheme: str,
    calibration: CalibrationSet,
    float_nodes: Sequence[str],
    out: Path,
    wide: Sequence[str] = (),
) -> Artifact:
    """Write `out/model.onnx` with Q/DQ nodes as the scheme has them.

    Args:
        float_nodes: names of the nodes that stay in float.
        wide: names of the nodes whose activations get 16 bits.

    Raises:
        CompileError: ONNX Runtime's quantizer failed.
        DataError: a calibration image cannot be read.
    """
    rules = QDQ_SCHEMES[scheme]
    path = out / "model.onnx"
    with _one_line(scheme):
        prepared = _prepared(model, calibration)
        table = (
            read_table(calibration.table) if calibration.table else _measured(prepared, rules, calibration)
        )
        kernels = _kernels(prepared, table)
        made = _quantized(prepared, rules, table, float_nodes, wide)
        correct_biases(made, kernels)
        onnx.save(made, path)
    _keep_metadata(model.path, path)
    return Artifact.of(path, "onnx", "int8", model.sha256)


def calibrate(model: Artifact, scheme: str, calibration: CalibrationSet, out: Path) -> Path:
    """Write `out/table.json`: ranges read once serve `quantize` with any choice of float nodes.

    Raises:
        CompileError: ONNX Runtime cannot run the network.
        DataError: there are no images, none of them shows anything, or one cannot be read.
    """
    require_content(calibration.images)
    with _one_line(scheme):
        table = _measured(_prepared(model, calibration), QDQ_SCHEMES[scheme], calibration)
    return write_table(table, out / TABLE)


@contextmanager
def _one_line(scheme: str) -> Iterator[None]:
    logging.getLogger().setLevel(logging.ERROR)  # the quantizer logs advice through the root logger
    try:
        yield
    except EdgepruneError:
        raise
    except Exception as exc:  # ONNX Runtime's exceptions share no base class of their own
        raise CompileError(f"{scheme}: quantization failed: {shorten(exc)}") from exc


def _prepared(model: Artifact, calibration: CalibrationSet) -> onnx.ModelProto:
    """Return the float network with constants folded and types inferred; equalised if asked for."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prepared.onnx"
        quant_pre_process(str(model.path), str(path))
        prepared = onnx.shape_inference.infer_shapes(read_onnx(path, weights=True))
    if calibration.equalise:
        equalise(prepared)
    return prepared


def _operators(rules: QdqScheme) -> list[str]:
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return list(rules.operators) or sorted({*QDQRegistry, *QLinearOpsRegistry})


def _measured(prepared: onnx.ModelProto, rules: QdqScheme, calibration: CalibrationSet) -> Table:
    tensors = calibrated_tensors(prepared, rules, _operators(rules))
    return measure_ranges(prepared, tensors, rules.symmetric, calibration)


def _kernels(prepared: onnx.ModelProto, table: Table) -> dict[str, Kernel]:
    """Return the kernels whose rounding is to be corrected: those whose inputs' means are known."""
    weights = {tensor.name: tensor for tensor in prepared.graph.initializer}
    return {
        name: Kernel(numpy_helper.to_array(weights[name]), np.asarray(table.means[tensor]))
        for name, tensor in map_kernels(prepared).items()
        if name in weights and tensor in table.means
    }


def _quantized(
    prepared: onnx.ModelProto,
    rules: QdqScheme,
    table: Table,
    float_nodes: Sequence[str],
    wide: Sequence[str],
) -> onnx.ModelProto:
    """Put in the Q/DQ nodes; `prepared` is not to be used any more."""
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    data = {
        name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
        for name, (low, high) in table.ranges.items()
    }
    quantizer = QDQQuantizer(
        prepared,
        rules.per_channel,
        reduces_range(rules),
        QuantType.QInt8,
        {"u8": QuantType.QUInt8, "u16": QuantType.QUInt16, "s8": QuantType.QInt8}[rules.activations],
        TensorsData(CalibrationMethod.MinMax, data),
        [],
        list(float_nodes),
        _operators(rules),
        _options(rules) | _wider(prepared, set(wide), table),
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()  # it appends its nodes behind those that read them
    made: onnx.ModelProto = quantizer.model.model
    return made


def _options(rules: QdqScheme) -> dict[str, Any]:
    options: dict[str, Any] = {
        "ActivationSymmetric": rules.symmetric,
        "WeightSymmetric": True,
        "QuantizeBias": rules.bias == "int32",
    }
    if not rules.outputs:
        options["OpTypesToExcludeOutputQuantization"] = list(rules.operators)
    return options


def _wider(prepared: onnx.ModelProto, wide: Collection[str], table: Table) -> dict[str, Any]:
    """Return the quantizer's settings by which what some nodes read and write gets 16 bits in place of 8."""
    from onnxruntime.quantization.execution_providers.qnn.mixed_precision_overrides_utils import (
        MixedPrecisionTensorQuantOverridesFixer,
    )
    from onnxruntime.quantization.quant_utils import QuantType
    from onnxruntime.quantization.tensor_quant_overrides import TensorQuantOverridesHelper

    nodes = [node for node in prepared.graph.node if node.name in wide]
    tensors = dict.fromkeys(name for node in nodes for name in (*node.input, *node.output))
    images = {value.name for value in prepared.graph.input}
    overrides = {
        name: [{"quant_type": QuantType.QUInt16}]
        for name in tensors
        if name in table.ranges and name not in images
    }
    if not overrides:
        return {}
    helper = TensorQuantOverridesHelper(overrides)
    fixer = MixedPrecisionTensorQuantOverridesFixer.create_from_model(helper, prepared, QuantType.QUInt8)
    fixer.apply(QuantType.QUInt8, default_activation_symmetric=False)
    return {"TensorQuantOverrides": helper.get_dict()}


def _keep_metadata(source: Path, target: Path) -> None:
    metadata = {entry.key: entry.value for entry in read_onnx(source).metadata_props}
    quantized = read_onnx(target, weights=True)
    onnx.helper.set_model_props(quantized, metadata)
    onnx.save(quantized, target)
