"""ONNX Runtime on the CPU: the engine is the ONNX file itself, optimised by the runtime when it is loaded."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.artifact import Artifact
from edgeprune.backends import options_for
from edgeprune.errors import CompileError, RuntimeMissingError

if TYPE_CHECKING:
    import numpy as np

    from edgeprune.device import DeviceProfile

PROVIDER = "CPUExecutionProvider"
SOURCE = "onnx"
ENGINE = "model.onnx"
_FLOATS = {"tensor(float)": "fp32", "tensor(float16)": "fp16", "tensor(bfloat16)": "bf16"}


class OrtSession:
    """A loaded ONNX file.

    Attributes:
        actual: ``provider`` that the session got, ``precision`` of its floating-point input, ``threads``,
            ``streams`` and ``version``.
    """

    def __init__(self, session: Any, threads: int, version: str) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self.actual: dict[str, Any] = {
            "provider": session.get_providers()[0],
            "precision": _FLOATS.get(session.get_inputs()[0].type, session.get_inputs()[0].type),
            "threads": threads,
            "streams": 1,
            "version": version,
        }

    def __call__(self, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Run on float32 images of shape (1, 3, H, W) and return new arrays, one an output."""
        outputs: list[np.ndarray[Any, Any]] = self._session.run(None, {self._input: images})
        return outputs


def version() -> str | None:
    """Return the version of the onnxruntime that is installed here, or None."""
    try:
        import onnxruntime
    except ImportError:
        return None
    return str(onnxruntime.__version__)


def compile(model: Artifact, profile: DeviceProfile, precision: str, out: Path) -> Artifact:
    """Copy the ONNX file into `out` as the engine and prove that this runtime loads it.

    The optimised graph is not stored: it is bound to the CPU it was made on.

    Raises:
        CompileError: the runtime cannot load the graph.
        RuntimeMissingError: onnxruntime is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    engine = out / ENGINE
    shutil.copyfile(model.path, engine)
    load(engine, precision, 1, options_for(profile, precision))
    return Artifact.of(engine, "engine", precision, parent=model.sha256)


def load(engine: Path, precision: str, threads: int, options: Mapping[str, str]) -> OrtSession:
    """Load an ONNX file for inference on the CPU with all graph optimisations.

    Args:
        precision: what the file was quantised to; the graph itself holds it, nothing is set by it.
        threads: intra-op threads; operators run one after the other.
        options: session configuration entries, such as ``session.intra_op.allow_spinning``.

    Raises:
        CompileError: the runtime cannot load the graph.
        RuntimeMissingError: onnxruntime is not installed.
    """
    ort = _import()
    return OrtSession(_open(engine, _session_options(threads, options)), threads, str(ort.__version__))


def quantized_ops(engine: Path) -> int | None:
    """Count the QLinearConv nodes of the optimised graph: the convolutions that really run in integers.

    A Q/DQ graph that the optimiser could not fuse keeps float convolutions and is slower than fp32
    (onnxruntime#20052), so this number, not the file's Q/DQ nodes, tells whether a model is quantised.

    Returns:
        The count, or None where the `onnx` package is missing to read the graph.
    """
    try:
        import onnx
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        options = _session_options(1, {})
        options.optimized_model_filepath = str(optimised)
        _open(engine, options)
        graph = onnx.load(str(optimised), load_external_data=False).graph
    return len([node for node in graph.node if node.op_type == "QLinearConv"])


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError as exc:
        raise RuntimeMissingError("onnxruntime is not installed here: pip install onnxruntime") from exc
    return onnxruntime


def _session_options(threads: int, entries: Mapping[str, str]) -> Any:
    ort = _import()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors come as exceptions; warnings would only clutter the terminal
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    return options


def _open(engine: Path, options: Any) -> Any:
    try:
        return _import().InferenceSession(str(engine), options, providers=[PROVIDER])
    except Exception as exc:  # its exceptions share no base class of their own
        reason = " ".join(str(exc).split())[:300]
        raise CompileError(f"{engine}: ONNX Runtime cannot load this graph: {reason}") from exc
