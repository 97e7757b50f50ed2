"""What TensorRT and TensorRT-RTX share: one ONNX parser, strongly typed networks, the builder's messages.

Each function takes the vendor's module, so that what is proven with `tensorrt_rtx` on a machine without a GPU
is the code that runs with `tensorrt` on one that has it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeprune.core.errors import CompileError, shorten


def make_log(trt: Any, aloud: bool = False) -> Any:
    """Return a logger for the builder that keeps its errors as `errors`, a list of lines.

    Args:
        trt: the module `tensorrt` or `tensorrt_rtx`.
        aloud: also write everything from warnings up to stderr.
    """

    class Log(trt.ILogger):  # type: ignore[misc]  # a class of the module that is handed in
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.errors.append(message)
            if aloud and severity <= trt.ILogger.WARNING:
                print(f"{severity.name}: {message}", file=sys.stderr, flush=True)

    return Log()


def build_engine(
    trt: Any, log: Any, model: Path, configure: Callable[[Any, Any, Any], None], typed: bool = True
) -> bytes:
    """Parse an ONNX file into a network and build an engine of it.

    With strong typing the precision of every tensor is what the graph says: fp16 where it was converted, int8
    between Q/DQ pairs. TensorRT 10 needs the flag, TensorRT 11 knows nothing else and ignores it.

    Args:
        log: from `make_log`.
        configure: sets what differs between runtimes, from (builder, network, configuration).
        typed: whether the network is strongly typed; else flags of the configuration allow precisions.

    Raises:
        CompileError: the parser refuses the graph (operator and node are named), or the builder fails.
    """
    runtime = runtime_name(trt)
    builder = trt.Builder(log)
    network = builder.create_network(_network_flags(trt, typed))
    parser = trt.OnnxParser(network, log)  # owns the weights: it has to outlive the build
    if not parser.parse_from_file(str(model)):
        raise CompileError(f"{model}: {runtime} cannot parse {_refused(parser)}")
    config = builder.create_builder_config()
    configure(builder, network, config)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise CompileError(f"{model}: {runtime} cannot build this graph: {_line(log.errors)}")
    return bytes(engine)


def runtime_name(trt: Any) -> str:
    """Return what the runtime is called, with its version."""
    return f"{'TensorRT-RTX' if trt.__name__ == 'tensorrt_rtx' else 'TensorRT'} {trt.__version__}"


def _network_flags(trt: Any, typed: bool) -> int:
    """Return the flags of a network; one of TensorRT 8 has to say that its batch is explicit."""
    flags = trt.NetworkDefinitionCreationFlag
    if typed:
        return 1 << int(flags.STRONGLY_TYPED)
    return 1 << int(flags.EXPLICIT_BATCH) if hasattr(flags, "EXPLICIT_BATCH") else 0


def _refused(parser: Any) -> str:
    """Say which node the parser stumbled over; its last error is about the graph as a whole as a rule."""
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    if not errors:
        return "this file, and does not say why"
    error = next((error for error in errors if error.node_operator()), errors[0])
    operator = error.node_operator()
    if not operator:
        return f"this file: {_line([error.desc()])}"
    known = parser.supports_operator(operator)
    reason = _line([error.desc()]) if known else "it has no such operator, and no plugin of that name"
    return f"operator {operator} of node {error.node_name()!r}: {reason}"


def _line(messages: list[str]) -> str:
    return shorten(messages[0] if messages else "")
