"""ONNX Runtime: the engine is the ONNX file itself, optimised by the runtime when it is loaded.

It runs on the CPU, or on the execution provider that the option ``provider`` names, with the CPU for what
that one does not take.
"""

from __future__ import annotations

import re
import shutil
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.backends.operators import lacking
from edgeprune.backends.ort_format import config_of, operators, to_ort
from edgeprune.backends.precisions import precision_of
from edgeprune.core.artifact import Artifact, parts_of
from edgeprune.core.backend import QDQ
from edgeprune.core.backend_types import Figures, NodeCounter, Recognised, Tool
from edgeprune.core.documents import read_json
from edgeprune.core.errors import (
    CompileError,
    ConfigError,
    ModelError,
    RuntimeMissingError,
    did_you_mean,
    shorten,
)
from edgeprune.core.onnx_outline import Outline, read_outline

if TYPE_CHECKING:
    import numpy as np

MODULE = "onnxruntime"
PIP = ("onnxruntime",)
PACKAGES = ("onnxruntime",)
HOW_TO_GET = "pip install onnxruntime"
WHEELS = {  # the newest that runs under qemu 7.2: 1.28.0, 1.30.0, 1.31.1 and 1.32.0 crash when they load
    "aarch64": {
        "onnxruntime==1.27.0": "2eb083321af8a236a84c7c140a7f4cecbfa2a987a18c07c78db471c20cd390ef",
        # which reads the graph of an .ort file
        "flatbuffers==25.12.19": "7634f50c427838bb021c2d66a3d1168e9d199b0607e6329399f04846d42e20b4",
    }
}
PROVIDER = "CPUExecutionProvider"
SOURCE = "onnx"
SCHEMES = QDQ
FORMATS = ("onnx", "ort")
END2END = True
HALF_GRAPH = True
GRAPH_IN_FILE = False
ENGINE = "model.onnx"
TAKES = "an .onnx file"
COMPILED = "EPContext"
"""The operator that stands for what a provider has compiled."""
_INTEGER = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "DynamicQuantizeLinear"}
_FLOAT, _FLOAT16 = 1, 10  # of TensorProto
_TAKEN = (_FLOAT, _FLOAT16)
_TYPES = {2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 11: "double", 16: "bfloat16"}
_MIXED = {"TensorrtExecutionProvider": ("CUDAExecutionProvider",)}  # the next to take what the first leaves
_INSTEAD = "pip uninstall onnxruntime && pip install "
_HOW_TO_GET = {
    "CUDAExecutionProvider": f"{_INSTEAD}onnxruntime-gpu",
    "TensorrtExecutionProvider": f"{_INSTEAD}onnxruntime-gpu",
    "OpenVINOExecutionProvider": f"{_INSTEAD}onnxruntime-openvino",
    "DmlExecutionProvider": f"{_INSTEAD}onnxruntime-directml",
    "QNNExecutionProvider": "pip install 'edgeprune[qnn]', and a profile with the runtime qnn",
    "XnnpackExecutionProvider": "the packages for Android and iOS have it; else build with --use_xnnpack",
    "NnapiExecutionProvider": "only the package for Android has it",
    "CoreMLExecutionProvider": "only the wheels for macOS and the package for iOS have it",
}
_BUILD = "build ONNX Runtime with it: https://onnxruntime.ai/docs/build/eps.html"
_LACKS = re.compile(
    r"(?P<foreign>[\w.]+:\w+)\(-?\d+\) is not a registered"
    r"|No Op registered for (?P<unknown>\w+)"
    r"|Could not find an implementation for (?P<kernel>[\w.:]+)\("
)
_FLOATS = {"tensor(float)": "fp32", "tensor(float16)": "fp16", "tensor(bfloat16)": "bf16"}


class OrtSession:
    """A loaded ONNX file.

    Attributes:
        actual: ``provider`` that was asked for if it took any node, else the one that took most; ``nodes`` by
            the provider that took them, None before ONNX Runtime 1.24; ``precision`` of the floating-point
            input, ``threads``, ``streams`` and ``version``.
    """

    compile_ms: float | None = None

    def __init__(self, session: Any, threads: int, version: str) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._halves = session.get_inputs()[0].type == "tensor(float16)"
        asked, nodes = session.get_providers()[0], nodes_by_provider(session)
        self.actual: dict[str, Any] = {
            "provider": max(nodes, key=lambda name: (name == asked, nodes[name])) if nodes else asked,
            "nodes": nodes,
            "precision": _FLOATS.get(session.get_inputs()[0].type, session.get_inputs()[0].type),
            "threads": threads,
            "streams": 1,
            "version": version,
        }

    def __call__(self, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Run on float32 images of shape (n, 3, H, W) and return new arrays, one an output."""
        if self._halves:
            images = images.astype("float16")
        outputs: list[np.ndarray[Any, Any]] = self._session.run(None, {self._input: images})
        return outputs


class OrtCounter:
    """An engine with ONNX Runtime's profiler, which writes the times of all inferences to a file."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name

    def __call__(self, images: np.ndarray[Any, Any]) -> None:
        """Run one inference."""
        self._session.run(None, {self._input: images})

    def note(self) -> None:
        """Keep nothing: the profiler does."""

    def nodes(self, count: int) -> list[dict[str, Any]]:
        """Return the nodes with their medians over the last inferences."""
        events = read_json(Path(self._session.end_profiling()), CompileError)
        taken: dict[tuple[str, str], list[float]] = defaultdict(list)
        nodes: dict[tuple[str, str], dict[str, Any]] = {}
        for event in events:
            if event["cat"] != "Node" or not event["name"].endswith("_kernel_time"):
                continue
            args = event["args"]
            key = event["name"].removesuffix("_kernel_time"), args["node_index"]
            taken[key].append(event["dur"] / 1e3)
            kind = next((kind for one in args["input_type_shape"] for kind in one), "")
            nodes[key] = {
                "name": key[0],
                "operator": args["op_name"],
                "kernel": "",
                "inputs": [shape for one in args["input_type_shape"] for shape in one.values()],
                "outputs": [shape for one in args["output_type_shape"] for shape in one.values()],
                "precision": precision_of(kind),
                "layers": [key[0]],
            }
        return [node | {"ms": statistics.median(taken[key][-count:])} for key, node in nodes.items()]


def version() -> str | None:
    """Return the version of the onnxruntime that is installed here, or None."""
    try:
        import onnxruntime
    except ImportError:
        return None
    return str(onnxruntime.__version__)


def providers() -> tuple[str, ...]:
    """Return the execution providers of the onnxruntime that is installed here.

    Raises:
        RuntimeMissingError: onnxruntime is not installed.
    """
    found: list[str] = _import().get_available_providers()
    return tuple(name for name in found if name != "AzureExecutionProvider")  # it asks a cloud service


def compile(model: Artifact, precision: str, options: Mapping[str, str], out: Path) -> Artifact:
    """Copy the ONNX file into `out` as the engine and prove that this runtime loads it.

    The optimised graph is not stored: it is bound to the CPU it was made on.

    Raises:
        CompileError: the runtime cannot load the graph.
        RuntimeMissingError: onnxruntime is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    engine = out / f"{Path(ENGINE).stem}{model.path.suffix}"
    shutil.copyfile(model.path, engine)
    for part in parts_of(model.path)[1:]:
        beside = out / part.relative_to(model.path.parent)
        beside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part, beside)
    load(engine, precision, 1, options)
    return Artifact.of(engine, "engine", precision, parent=model.sha256)


def load(engine: Path, precision: str, threads: int, options: Mapping[str, str]) -> OrtSession:
    """Load an ONNX or .ort file for inference with all graph optimisations.

    Args:
        precision: what the file was quantized to; the graph itself holds it, nothing is set by it.
        threads: intra-op threads; operators run one after the other.
        options: session configuration entries, such as ``session.intra_op.allow_spinning``; ``provider``, and
            options of that provider by names that begin with ``provider.``.

    Raises:
        CompileError: the runtime cannot load the graph, or lacks one of its operators.
        ConfigError: there is no provider of that name.
        RuntimeMissingError: onnxruntime is not installed, or this build of it lacks the provider.
    """
    ort = _import()
    session = _open(engine, _session_options(threads, options), _providers(options))
    return OrtSession(session, threads, str(ort.__version__))


def count_nodes(
    engine: Path, precision: str, threads: int, options: Mapping[str, str], folder: Path
) -> NodeCounter:
    """Load an engine with the profiler, which writes into `folder`; the rest is as in `load`."""
    settings = _session_options(threads, options)
    settings.enable_profiling = True
    settings.profile_file_prefix = str(folder / "profile")
    return OrtCounter(_open(engine, settings, _providers(options)))


def nodes_by_provider(session: Any) -> dict[str, int] | None:
    """Count the nodes that each provider took when the session was made; None before ONNX Runtime 1.24."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    counts: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] += len(part.get_nodes())
    return dict(counts) or None  # nothing is recorded of a .ort file


def load_many(
    engine: Path, precision: str, threads: int, options: Mapping[str, str], count: int
) -> Sequence[OrtSession]:
    """Load once: a session of ONNX Runtime takes calls of several threads at once.

    Arguments and errors are those of `load`.
    """
    return [load(engine, precision, threads, options)] * count


def recognise(path: Path) -> Recognised | None:
    """Return an ONNX file; it is fp16 where its weights or its input are, and int8 where it quantizes.

    One that was compiled for a provider is that provider's alone.

    Raises:
        ModelError: the file is named ``.onnx`` and is none.
    """
    if path.suffix != ".onnx" or not path.is_file():
        return None
    outline = _outline(path)
    if any(node.operator == COMPILED for node in outline.nodes):
        return None
    inputs = outline.inputs
    if len(inputs) > 1:
        names = ", ".join(value.name for value in inputs)
        raise ModelError(f"{path}: it has {len(inputs)} inputs ({names}); networks of one image are measured")
    kind = inputs[0].kind
    if kind not in _TAKEN:
        raise ModelError(
            f"{path}: its input is of {_TYPES.get(kind, 'another type')}; export it with a float32 or "
            "float16 input, the scaling of pixels left out"
        )
    if any(node.operator in _INTEGER for node in outline.nodes):
        return Recognised(path, "int8")
    kinds = [weight.kind for weight in outline.weights if len(weight.shape) > 1]
    kinds.append(kind)
    return Recognised(path, "fp16" if kinds.count(_FLOAT16) * 2 > len(kinds) else "fp32")


def input_shape(engine: Path) -> list[int]:
    """Return the shape of the first input, 0 for a side that is not fixed.

    Raises:
        ModelError: not an ONNX file.
    """
    return list(_outline(engine).inputs[0].shape)


def _outline(path: Path) -> Outline:
    outline = read_outline(path)
    if not outline.inputs:
        raise ModelError(f"{path}: not an ONNX file: it holds no network")
    return outline


def write_format(model: Artifact, kind: str, out: Path) -> Artifact:
    """Write the ``ort`` file of an ONNX artifact; see `ort_format.to_ort`, also for the errors."""
    return to_ort(model, out)


def parts(engine: Path) -> tuple[Path, ...]:
    """Return an engine and, of a ``.ort`` file, the list of its operators, which a small build needs."""
    return tuple(filter(Path.exists, (engine, config_of(engine))))


def quantized_ops(engine: Path) -> int:
    """Count the QLinearConv nodes of the optimised graph: the convolutions that really run in integers.

    A Q/DQ graph that the optimiser could not fuse keeps float convolutions and is slower than fp32
    (onnxruntime#20052), so this number, not the file's Q/DQ nodes, tells whether a model is quantized.
    """
    if engine.suffix == ".ort":
        return operators(engine).count("QLinearConv")
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        options = _session_options(1, {})
        options.optimized_model_filepath = str(optimised)
        _open(engine, options)
        nodes = read_outline(optimised, CompileError).nodes
    return len([node for node in nodes if node.operator == "QLinearConv"])


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError as exc:
        raise RuntimeMissingError("onnxruntime is not installed here: pip install onnxruntime") from exc
    return onnxruntime


def split(options: Mapping[str, str]) -> tuple[str, dict[str, str], dict[str, str]]:
    """Return of a profile's options the provider, what is the provider's own, and the session's entries."""
    own = {key.partition(".")[2]: value for key, value in options.items() if key.startswith("provider.")}
    entries = {key: value for key, value in options.items() if key.partition(".")[0] != "provider"}
    return options.get("provider", PROVIDER), own, entries


def _session_options(threads: int, options_of_profile: Mapping[str, str]) -> Any:
    ort = _import()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors come as exceptions; warnings would only clutter the terminal
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    for key, value in split(options_of_profile)[2].items():
        options.add_session_config_entry(key, value)
    return options


def _providers(options: Mapping[str, str]) -> list[Any]:
    """Return the providers to ask for, most wanted first, as `InferenceSession` takes them."""
    wanted, own, _ = split(options)
    known = _import().get_all_providers()
    if wanted not in known:
        raise ConfigError(f"provider: ONNX Runtime knows no {wanted!r}{did_you_mean(wanted, known)}")
    present = providers()
    if wanted not in present:
        raise RuntimeMissingError(
            f"{wanted} is not in the onnxruntime installed here, which has {', '.join(present)}; "
            f"to get it: {_HOW_TO_GET.get(wanted, _BUILD)}"
        )
    rest = [name for name in (*_MIXED.get(wanted, ()), PROVIDER) if name != wanted and name in present]
    return [(wanted, own), *rest]


def _open(engine: Path, options: Any, providers: Sequence[Any] = (PROVIDER,)) -> Any:
    try:
        return _import().InferenceSession(str(engine), options, providers=list(providers))
    except Exception as exc:  # its exceptions share no base class of their own
        if lacks := _LACKS.search(str(exc)):
            operator = next(filter(None, lacks.groups()))
            raise lacking(f"ONNX Runtime {version()}", engine, [operator]) from exc
        raise CompileError(f"{engine}: ONNX Runtime cannot load this graph: {shorten(exc)}") from exc


def _perf_test(engine: Path, options: Mapping[str, str], threads: int, seconds: float) -> list[str]:
    named, *groups = split(options)
    own, entries = ([f"{key}|{value}" for key, value in group.items()] for group in groups)
    # It calls the providers by their names in lower case: CPUExecutionProvider is cpu, and so on.
    provider = named.removesuffix("ExecutionProvider").lower()
    how = ["-e", provider, "-x", str(threads), "-y", "1", "-m", "duration", "-t", str(max(1, round(seconds)))]
    how += ["-i", " ".join(own)] if own else []
    how += ["-C", " ".join(entries)] if entries else []
    return [*how, "-I", "-s", str(engine)]


def _read_perf_test(text: str) -> Figures:
    said = re.findall(r"^(Min|Max|P\d+) Latency(?: is|:)\s*([-+.\deE]+) s", text, re.MULTILINE)
    found = {name: float(seconds) * 1e3 for name, seconds in said}
    mean = re.search(r"^Average (?:inference )?time cost(?: total)?:\s*([\d.]+) ms", text, re.MULTILINE)
    fps = re.search(r"^Number of inferences per second:\s*([\d.]+)", text, re.MULTILINE)
    return Figures(
        p50=found.get("P50"),
        p90=found.get("P90"),
        p99=found.get("P99"),
        mean=float(mean[1]) if mean else None,
        min=found.get("Min"),
        max=found.get("Max"),
        fps=float(fps[1]) if fps else None,
    )


TOOL = Tool(
    "onnxruntime_perf_test",
    "build it with ONNX Runtime (build.sh --build_shared_lib), and put it on the PATH",
    _perf_test,
    _read_perf_test,
    "its P50 compares with our p50. It feeds one random tensor and warms up by one query",
)
