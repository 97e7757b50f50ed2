"""Operators that a runtime lacks: one error for every runtime, with the nodes that need them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeprune.core.errors import CompileError
from edgeprune.core.onnx_files import read_onnx

_SHOWN = 3


def lacking(runtime: str, model: Path, operators: Sequence[str]) -> CompileError:
    """Return the error that names the operators a runtime lacks and the nodes of the model that need them.

    Args:
        runtime: name and version for the reader.
        operators: ``Type`` or ``domain:Type``, as in the model.
    """
    told = [f"{operator}{_needed_by(model, operator)}" for operator in operators]
    return CompileError(
        f"{model}: {runtime} has no operator {', '.join(told)}; export the model without it, "
        "or choose a target whose runtime has it"
    )


def _needed_by(model: Path, operator: str) -> str:
    """Name the nodes of an ONNX file that have the operator; nothing where the file cannot tell."""
    domain, _, kind = operator.rpartition(":")
    try:
        graph = read_onnx(model).graph
    except Exception:  # the `onnx` package is not on every device, and only ONNX files can be read
        return ""
    names = [
        node.name or node.output[0] for node in graph.node if (node.domain, node.op_type) == (domain, kind)
    ]
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f" (node{'s' if names[1:] else ''} {', '.join(names[:_SHOWN])}{more})"
