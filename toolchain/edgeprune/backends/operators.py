"""Operators that a runtime lacks: one error for every runtime, with the nodes that need them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeprune.core.errors import CompileError
from edgeprune.core.onnx_outline import read_outline

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
        nodes = read_outline(model).nodes
    except Exception:  # only ONNX files can be read
        return ""
    names = [node.name or node.outputs[0] for node in nodes if (node.domain, node.operator) == (domain, kind)]
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f" (node{'s' if names[1:] else ''} {', '.join(names[:_SHOWN])}{more})"
