"""fp16 ONNX files for runtimes that read precisions from the graph (TensorRT with strong typing)."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx

from edgeprune.artifact import Artifact
from edgeprune.errors import CompileError


def to_fp16(model: Artifact, out: Path) -> Artifact:
    """Write `out/model.onnx` with fp16 weights and arithmetic; input and output stay float32.

    Raises:
        CompileError: the converter failed.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    path = out / "model.onnx"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one line for every weight below fp16's smallest number
            half = convert_float_to_float16(onnx.load(model.path), keep_io_types=True)
    except (ValueError, RuntimeError, KeyError) as exc:
        raise CompileError(f"fp16: conversion failed: {(str(exc).splitlines() or [''])[0]}") from exc
    _drop_repeated_casts(half.graph)
    OnnxModel(half).topological_sort()  # the converter appends its casts behind the nodes that need them
    onnx.save(half, path)
    return Artifact.of(path, "onnx", "fp16", model.sha256)


def _drop_repeated_casts(graph: onnx.GraphProto) -> None:
    """Remove the second of two equal casts: the converter writes both where two Resize nodes share scales."""
    made: set[str] = set()
    for node in list(graph.node):
        if node.op_type == "Cast" and node.output[0] in made:
            graph.node.remove(node)
        made.update(node.output)
