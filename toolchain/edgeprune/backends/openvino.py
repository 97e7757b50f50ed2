"""OpenVINO on the CPU: the engine is a folder with the IR, `model.xml` and `model.bin`.

The floating-point rows share one IR: the precision they run in is `INFERENCE_PRECISION_HINT` of the profile's
options. Left alone, OpenVINO runs an fp32 model in bf16 on CPUs that have it, silently.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.artifact import Artifact
from edgeprune.backends import options_for
from edgeprune.errors import CompileError, RuntimeMissingError

if TYPE_CHECKING:
    import numpy as np

    from edgeprune.device import DeviceProfile

PROVIDER = "CPU"
ENGINE = "engine"
IR = "model.xml"
_FLOATS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}
_INTEGERS = ("u8", "i8")
_CONVOLUTIONS = ("Convolution", "GroupConvolution")


class OpenVinoSession:
    """A compiled model with one inference request.

    Attributes:
        actual: ``provider`` (the device that executes), ``precision`` of the floating-point kernels as read
            back from the compiled model, ``threads``, ``streams`` and ``version``.
    """

    def __init__(self, compiled: Any, version: str) -> None:
        self._request = compiled.create_infer_request()
        self._outputs = len(compiled.outputs)
        hint = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.actual: dict[str, Any] = {
            "provider": ",".join(compiled.get_property("EXECUTION_DEVICES")),
            "precision": _FLOATS.get(hint, hint),
            "threads": int(compiled.get_property("INFERENCE_NUM_THREADS")),
            "streams": int(compiled.get_property("NUM_STREAMS")),
            "version": version,
        }

    def __call__(self, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Run on float32 images of shape (1, 3, H, W) and return new arrays, one an output."""
        # The input is read in place; outputs are copied, since the request reuses its own memory.
        results = self._request.infer(images, share_inputs=True, share_outputs=False)
        return [results[index] for index in range(self._outputs)]


def version() -> str | None:
    """Return the version of the OpenVINO that is installed here, such as ``2026.4.1``, or None."""
    try:
        import openvino
    except ImportError:
        return None
    return str(openvino.__version__).split("-", 1)[0]


def compile(model: Artifact, profile: DeviceProfile, precision: str, out: Path) -> Artifact:
    """Turn an ONNX file into IR with fp32 weights, or take over the IR folder that NNCF wrote.

    Returns:
        The folder ``out/engine``, proven to compile on this CPU.

    Raises:
        CompileError: OpenVINO cannot read or compile the model.
        RuntimeMissingError: openvino is not installed.
    """
    engine = out / ENGINE
    if model.path.is_dir():
        shutil.copytree(model.path, engine)
    else:
        openvino = _import()
        engine.mkdir(parents=True)
        network = _translated(model.path, lambda: openvino.Core().read_model(str(model.path)))
        # compress_to_fp16 is on by default and would round the weights of every "fp32" row.
        openvino.save_model(network, str(engine / IR), compress_to_fp16=False)
    load(engine, precision, 1, options_for(profile, precision))
    return Artifact.of(engine, "engine", precision, parent=model.sha256)


def load(engine: Path, precision: str, threads: int, options: Mapping[str, str]) -> OpenVinoSession:
    """Load an IR folder for one query at a time on the CPU.

    Args:
        precision: what the row is called; `options` decide what runs and `Session.actual` tells it.
        options: OpenVINO properties, such as ``INFERENCE_PRECISION_HINT``.

    Raises:
        CompileError: OpenVINO cannot read or compile the model, or refuses an option.
        RuntimeMissingError: openvino is not installed.
    """
    return OpenVinoSession(_compiled(engine, threads, options), str(version()))


def quantized_ops(engine: Path) -> int | None:
    """Count the convolutions of the executed graph whose kernels take u8 or i8 input."""
    graph = _compiled(engine, 1, {}).get_runtime_model()
    return sum(
        runtime_info(node, "layerType") in _CONVOLUTIONS
        and runtime_info(node, "runtimePrecision") in _INTEGERS
        for node in graph.get_ops()
    )


def runtime_info(node: Any, key: str) -> str:
    """Return what the executed graph tells of a node, such as its ``runtimePrecision``; empty if nothing."""
    info = node.get_rt_info()
    return str(info[key].astype(str)) if key in info else ""


def _import() -> Any:
    try:
        import openvino
    except ImportError as exc:
        raise RuntimeMissingError("openvino is not installed here: pip install openvino") from exc
    return openvino


def _compiled(engine: Path, threads: int, options: Mapping[str, str]) -> Any:
    core = _import().Core()
    properties = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": str(threads)}
    model = str(engine / IR if engine.is_dir() else engine)
    return _translated(engine, lambda: core.compile_model(model, PROVIDER, properties | dict(options)))


def _translated(path: Path, action: Any) -> Any:
    try:
        return action()
    except RuntimeError as exc:
        reason = " ".join(str(exc).split())[:300]
        raise CompileError(f"{path}: OpenVINO cannot use this model: {reason}") from exc
