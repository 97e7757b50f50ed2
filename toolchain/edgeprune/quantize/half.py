"""fp16 ONNX files for runtimes that read precisions from the graph (TensorRT with strong typing)."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import onnx.version_converter

from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError, shorten
from edgeprune.core.onnx_files import read_onnx
from edgeprune.quantize.schemes import QDQ_SCHEMES

HALF_SCALES = 19
"""First opset in which Q/DQ take fp16 scales, and so give and take fp16."""


def to_fp16(model: Artifact, out: Path) -> Artifact:
    """Write `out/model.onnx` with fp16 weights and arithmetic; input and output stay float32.

    What a Q/DQ graph computes in int8 stays so, between pairs that quantize from and to fp16.

    Raises:
        CompileError: the converter failed.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    path = out / "model.onnx"
    graph = read_onnx(model.path, weights=True)
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    try:
        opset = next(entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx"))
        if model.precision == "int8" and opset < HALF_SCALES:
            graph = onnx.version_converter.convert_version(graph, HALF_SCALES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one line for every weight below fp16's smallest number
            half = convert_float_to_float16(graph, keep_io_types=True)
    except (ValueError, RuntimeError, KeyError) as exc:
        raise CompileError(f"fp16: conversion failed: {shorten(exc)}") from exc
    _drop_repeated_casts(half.graph)
    OnnxModel(half).topological_sort()  # the converter appends its casts behind the nodes that need them
    onnx.helper.set_model_props(half, metadata)
    onnx.save(half, path)
    return Artifact.of(path, "onnx", half_precision(model), model.sha256)


def wants_fp16(precision: str, scheme: str, half_graph: bool) -> bool:
    """Whether what is not int8 in a file of that precision is fp16 in it.

    Args:
        scheme: the int8 scheme of the target.
        half_graph: whether its runtime takes an fp16 graph, see `Backend.HALF_GRAPH`.
    """
    if precision == "int8":
        rules = QDQ_SCHEMES.get(scheme)
        return rules is not None and rules.rest == "fp16"
    return precision == "fp16" and half_graph


def half_precision(model: Artifact) -> str:
    """Return what a file counts as after `to_fp16`: int8 with fp16 around it is int8."""
    return "int8" if model.precision == "int8" else "fp16"


def _drop_repeated_casts(graph: onnx.GraphProto) -> None:
    """Remove the second of two equal casts: the converter writes both where two Resize nodes share scales."""
    made: set[str] = set()
    for node in list(graph.node):
        if node.op_type == "Cast" and node.output[0] in made:
            graph.node.remove(node)
        made.update(node.output)
