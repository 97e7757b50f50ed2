"""Qualcomm Hexagon (HTP) by ONNX Runtime's QNN: the engine is an ONNX file that holds a context binary.

The binary is compiled here for one SoC, which loads it without compiling. On x86-64 the same file runs in the
emulator of HTP that the provider brings: it computes as the chip does, and its time says nothing.

The float end of the graph, the decode of a detector, stays ONNX and runs on the CPU: see `head_cut`. Options
and context binaries are those of the provider's documentation (github.com/onnxruntime/onnxruntime-qnn,
docs/execution_providers/QNN-ExecutionProvider.md).
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.backends.chips import require_chip
from edgeprune.backends.head_cut import MARKERS, is_plain, split, tail_of
from edgeprune.backends.onnxruntime import COMPILED, OrtSession
from edgeprune.core.artifact import Artifact
from edgeprune.core.backend_types import Placement, Recognised
from edgeprune.core.documents import parse_json
from edgeprune.core.errors import CompileError, RuntimeMissingError, shorten
from edgeprune.core.onnx_outline import Outline, read_outline
from edgeprune.core.packages import UNKNOWN, module_version

if TYPE_CHECKING:
    import onnx

MODULE = "onnxruntime_qnn"
PIP = ("onnxruntime", "onnxruntime-qnn")
PACKAGES = ("onnxruntime", "onnxruntime-qnn")
HOW_TO_GET = "pip install 'edgeprune[qnn]' (Python >= 3.11, glibc >= 2.35)"
PROVIDER = "QNNExecutionProvider"
SOURCE = "onnx"
SCHEMES = ("qnn-u8s8", "qnn-u16s8")
END2END = True  # in the part that runs on the CPU
HALF_GRAPH = False
GRAPH_IN_FILE = True
ENGINE = "model.onnx"
TAKES = "an .onnx file with a context binary for Hexagon"
PROBE = "probe-qnn.onnx"
EMULATOR = "Qualcomm's emulator of HTP"
PROCESSOR = "HTP"
SOCS: Mapping[str, tuple[int, int]] = {
    "SM8350": (30, 68),
    "SM8450": (36, 69),
    "SM8475": (42, 69),
    "SM8550": (43, 73),
    "SM8650": (57, 75),
    "SM8750": (69, 79),
    "SM8850": (87, 81),
    "QCM6490": (93, 68),
}
"""Number and Hexagon generation of a SoC, as Qualcomm lists them in ExecuTorch's
`backends/qualcomm/serialization/qc_schema.py`. QCS6490 is QCM6490 without a modem."""
_FACTS = "edgeprune.qnn"
"""Key of the engine's metadata: how many operators HTP took, and what it left."""
_BUILT_FOR = "ep_compatibility_info.QNNExecutionProvider"
"""Key of what the provider writes: format, backend, two versions, Hexagon generation, SoC, and more."""


class QnnSession(OrtSession):
    """A loaded engine.

    Attributes:
        actual: as of `OrtSession`, ``delegated`` (share of the operators that HTP runs) and ``left`` (how
            many of each kind it does not) in place of ``nodes``, and ``soc`` that the engine is for.
    """

    def __init__(self, session: Any, threads: int, version: str, outline: Outline) -> None:
        super().__init__(session, threads, version)
        placed = _placement(outline)
        nodes = self.actual.pop("nodes") or {}
        self.actual |= {
            "provider": PROVIDER if nodes.get(PROVIDER) else self.actual["provider"],
            "delegated": placed.taken / placed.operators if placed else None,
            "left": dict(placed.left) if placed else {},
            "soc": _soc_of(outline),
        }


def version() -> str | None:
    """Return the version of the provider that is installed here, or None."""
    try:
        _import()
    except RuntimeMissingError:
        return None
    return module_version("onnxruntime_qnn", "onnxruntime-qnn") or UNKNOWN


def require_options(options: Mapping[str, str], precision: str = "int8") -> None:
    """Check the options of a profile: ``soc`` names the chip, and there is no other.

    Args:
        precision: of no effect.

    Raises:
        ConfigError: an unknown SoC or option, or no SoC.
    """
    require_chip(options, "soc", SOCS, "qnn")


def compile(model: Artifact, precision: str, options: Mapping[str, str], out: Path) -> Artifact:
    """Compile a Q/DQ graph for one SoC into `out/model.onnx`, and prove that it loads.

    Raises:
        CompileError: HTP takes no operator of the graph, or the provider cannot compile it.
        ConfigError: see `require_options`.
        RuntimeMissingError: onnxruntime-qnn is not installed.
    """
    import onnx

    from edgeprune.core.onnx_files import read_onnx

    require_options(options)
    _import()
    network = read_onnx(model.path, CompileError, weights=True)
    body, tail = split(network, tail_of(network, is_plain)) if precision == "int8" else (network, None)
    out.mkdir(parents=True, exist_ok=True)
    engine = out / ENGINE
    with tempfile.TemporaryDirectory(dir=out) as folder:
        source, context = Path(folder) / "body.onnx", Path(folder) / "context.onnx"
        onnx.save(body, source)
        session = _open(source, 1, options, context)
        left = _left(session, tail)
        if not context.is_file():
            raise CompileError(f"{model.path}: {PROCESSOR} takes none of its operators: {_told(left)}")
        taken = _operators(body) - sum(left.values()) + (_operators(tail) if tail else 0)
        joined = _joined(onnx.load(context), tail, network)
    facts = {"soc": options["soc"], "taken": taken, "operators": taken + sum(left.values()), "left": left}
    onnx.helper.set_model_props(joined, _props(network) | _props(joined) | {_FACTS: json.dumps(facts)})
    onnx.save(joined, engine)
    load(engine, precision, 1, options)
    return Artifact.of(engine, "engine", precision, parent=model.sha256)


def load(engine: Path, precision: str, threads: int, options: Mapping[str, str]) -> QnnSession:
    """Load an engine: on its SoC, or in the emulator on x86-64.

    Args:
        precision: what the row is called; the engine itself holds its precision.
        threads: of the operators that stay on the CPU.
        options: ``soc`` that the engine has to be for; the engine's own by default.

    Raises:
        CompileError: it is for another SoC, or the provider cannot load it.
        ConfigError: see `require_options`.
        RuntimeMissingError: onnxruntime-qnn is not installed.
    """
    _import()
    outline = read_outline(engine, CompileError)
    if not _is_ours(outline):
        raise CompileError(f"{engine}: it holds no context binary for Hexagon")
    built = _soc_of(outline)
    if options:
        require_options(options)
    asked = options.get("soc", built)
    if built != asked:
        raise CompileError(
            f"{engine}: its context binary is for {built or 'another SoC'}, not for {asked}; "
            "build it for this target"
        )
    session = _open(engine, threads, {"soc": built})
    return QnnSession(session, threads, str(version()), outline)


def recognise(path: Path) -> Recognised | None:
    """Return an ONNX file with a context binary for Hexagon; what it computes in only its builder knew.

    Raises:
        ModelError: the file is named ``.onnx`` and is none.
    """
    if path.suffix != ".onnx" or not path.is_file() or not _is_ours(read_outline(path)):
        return None
    return Recognised(path, "int8")


def input_shape(engine: Path) -> list[int]:
    """Return the shape of the input, (n, 3, H, W).

    Raises:
        ModelError: not an ONNX file.
    """
    return list(read_outline(engine).inputs[0].shape)


def placement(engine: Path) -> Placement | None:
    """Return which operators HTP took when the engine was compiled; None of another tool's engine.

    Raises:
        ModelError: not an ONNX file.
    """
    return _placement(read_outline(engine))


def _placement(outline: Outline) -> Placement | None:
    told = outline.metadata.get(_FACTS)
    if told is None:
        return None
    facts = parse_json(told, _FACTS, CompileError)
    return Placement(PROCESSOR, int(facts["taken"]), int(facts["operators"]), dict(facts["left"]))


def _is_ours(outline: Outline) -> bool:
    return _BUILT_FOR in outline.metadata and any(node.operator == COMPILED for node in outline.nodes)


def _soc_of(outline: Outline) -> str | None:
    """Return the SoC that an engine was compiled for, by what the provider wrote; None for an unknown one."""
    parts = outline.metadata.get(_BUILT_FOR, "").split(":")
    if len(parts) < 6:
        return None
    return next((name for name, (soc, arch) in SOCS.items() if parts[4:6] == [str(arch), str(soc)]), None)


def _props(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def _operators(model: onnx.ModelProto) -> int:
    return sum(is_plain(node) and node.op_type != "Constant" for node in model.graph.node)


def _left(session: Any, tail: onnx.ModelProto | None) -> dict[str, int]:
    """Count the operators that do not run on HTP: those of the tail, and what the provider did not take."""
    left = Counter(
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != PROVIDER
        for node in part.get_nodes()
    )
    if tail:
        left.update(node.op_type for node in tail.graph.node if node.op_type != "Constant")
    return {kind: count for kind, count in sorted(left.items()) if kind not in MARKERS}


def _told(left: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in left.items())


def _joined(
    context: onnx.ModelProto, tail: onnx.ModelProto | None, network: onnx.ModelProto
) -> onnx.ModelProto:
    """Return the compiled body with the tail behind it, whose outputs are those of the network."""
    if tail is None:
        return context
    context.graph.node.extend(tail.graph.node)
    context.graph.initializer.extend(tail.graph.initializer)
    del context.graph.output[:]
    context.graph.output.extend(network.graph.output)
    return context


def _import() -> Any:
    """Return the provider's package, whose library is registered.

    Raises:
        RuntimeMissingError: it is not installed, or does not work here.
    """
    try:
        import onnxruntime_qnn

        _register(onnxruntime_qnn.get_library_path())
    except ImportError as exc:
        raise RuntimeMissingError(f"onnxruntime-qnn is not installed here: {HOW_TO_GET}") from exc
    except Exception as exc:  # the library of another machine, or of an older glibc
        raise RuntimeMissingError(f"onnxruntime-qnn does not work here: {shorten(exc)}") from exc
    return onnxruntime_qnn


@functools.cache
def _register(library: str) -> None:
    """Tell ONNX Runtime of the provider, once in a process."""
    import onnxruntime

    onnxruntime.register_execution_provider_library(PROVIDER, library)


def _open(model: Path, threads: int, options: Mapping[str, Any], context: Path | None = None) -> Any:
    """Open a session on HTP; with `context`, compile the graph and write its context binary there."""
    import onnxruntime

    library = _import()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3  # errors come as exceptions
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if context:
        settings.add_session_config_entry("ep.context_enable", "1")
        settings.add_session_config_entry("ep.context_file_path", str(context))
        settings.add_session_config_entry("ep.context_embed_mode", "1")
    devices = [one for one in onnxruntime.get_ep_devices() if one.ep_name == PROVIDER]
    if not devices:
        raise RuntimeMissingError(f"{PROVIDER} finds no Hexagon here, and no emulator of it")
    settings.add_provider_for_devices(devices[:1], _chip(library, options.get("soc")))
    try:
        with _quiet():
            return onnxruntime.InferenceSession(str(model), settings)
    except Exception as exc:  # its exceptions share no base class of their own
        raise CompileError(f"{model}: QNN cannot take this graph: {shorten(exc)}") from exc


@contextmanager
def _quiet() -> Iterator[None]:
    """Send what the emulator prints to the standard error: the standard output is for a command's results."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)  # it prints through C, which holds back what goes into a pipe
        os.dup2(kept, 1)
        os.close(kept)


def _chip(library: Any, soc: str | None) -> dict[str, str]:
    """Return the provider's options; without a SoC and a generation no graph is finalised."""
    number, generation = SOCS.get(str(soc), (0, 0))
    asked = {"soc_model": str(number), "htp_arch": str(generation)} if number else {}
    return {"backend_path": library.get_qnn_htp_path()} | asked
