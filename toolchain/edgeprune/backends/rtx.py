"""TensorRT-RTX as a proof without a GPU: does TensorRT's parser and builder take this ONNX file?

TensorRT-RTX is TensorRT's sibling for desktop GPUs: the same ONNX parser and network API, and a builder that
compiles on a CPU, ahead of time, for the compute capabilities that it is told (its documentation, "CPU-Only
AOT and TensorRT-RTX Engines").

A successful build proves that every operator, attribute, shape and type of the file is parsed into a strongly
typed network, that Q/DQ and casts fit together, and that the builder finds an implementation. It does not
prove that TensorRT of another version on another GPU does too (it does not know compute capability 8.7, that
of Jetson Orin; 8.6 is the nearest), that convolutions run in int8 kernels, that the outputs are right, or any
latency. Those are for the device to show.

The builder runs in a process of its own, since native code may crash:
`python -m edgeprune.backends.rtx MODEL REPORT`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprune.backends.nvidia import build_engine, make_log
from edgeprune.core.backend_types import Proof
from edgeprune.core.documents import read_json
from edgeprune.core.errors import CompileError, RuntimeMissingError
from edgeprune.core.files import write_text_atomically
from edgeprune.core.packages import module_version
from edgeprune.core.processes import own_python

NAME = "TensorRT-RTX"
WHY = "to have files for TensorRT proven on this machine (Linux on x86-64)"
HOW_TO_GET = "pip install 'edgeprune[rtx]'"
CAPABILITIES = ("SM86", "SM89")
TIMEOUT_S = 1800.0


def version() -> str | None:
    """Return the version of the TensorRT-RTX that is installed here, without importing it, or None."""
    return module_version("tensorrt_rtx", "tensorrt-rtx-cu13")


def prove(model: Path, log: Path) -> Proof:
    """Build an ONNX file ahead of time for `CAPABILITIES`, in a process of its own; the engine is not kept.

    Args:
        log: file for everything that the builder says; kept, whatever the outcome.

    Raises:
        CompileError: the parser or the builder refuses the file, or the builder crashed or gave no answer.
        RuntimeMissingError: TensorRT-RTX is not installed.
    """
    if version() is None:
        raise RuntimeMissingError(f"TensorRT-RTX is not installed here: {HOW_TO_GET}")
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, log.open("w", encoding="utf-8") as stream:
        report = Path(folder) / "report.json"
        args = own_python("edgeprune.backends.rtx", str(model.resolve()), str(report))
        try:
            status = subprocess.run(
                args, stdout=stream, stderr=stream, timeout=TIMEOUT_S, cwd=folder, check=False
            ).returncode
        except subprocess.TimeoutExpired as exc:
            raise CompileError(
                f"{model}: TensorRT-RTX gave no answer in {TIMEOUT_S:.0f} s; its log: {log}"
            ) from exc
        if not report.is_file():
            death = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
            raise CompileError(f"{model}: TensorRT-RTX's builder crashed ({death}); its log: {log}")
        found: dict[str, Any] = read_json(report, CompileError)
    if "error" in found:
        raise CompileError(f"{found['error']}; its log: {log}")
    return Proof(found["version"], tuple(found["capabilities"]))


def main(argv: Sequence[str]) -> int:
    """Build the ONNX file `argv[0]` and write what came of it to `argv[1]`, as JSON."""
    import tensorrt_rtx as trt

    def configure(builder: Any, network: Any, config: Any) -> None:
        config.num_compute_capabilities = len(CAPABILITIES)
        for index, name in enumerate(CAPABILITIES):
            if not config.set_compute_capability(getattr(trt.ComputeCapability, name), index):
                raise CompileError(f"TensorRT-RTX {trt.__version__} does not build for {name}")

    answer: dict[str, Any]
    try:
        build_engine(trt, make_log(trt, aloud=True), Path(argv[0]), configure)
        answer = {"version": trt.__version__, "capabilities": CAPABILITIES}
    except CompileError as exc:
        answer = {"error": str(exc)}
    write_text_atomically(Path(argv[1]), json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
