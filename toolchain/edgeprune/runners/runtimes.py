"""What a runtime is called by Python and by pip, and how it gets onto a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgeprune.errors import DeviceError
from edgeprune.runners import Runner

INSTALL_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Runtime:
    """A runtime's Python package.

    Attributes:
        module: the name it is imported by.
        packages: what pip installs; TensorRT itself is part of the device's own system.
    """

    module: str
    packages: tuple[str, ...]


RUNTIMES: dict[str, Runtime] = {
    "onnxruntime": Runtime("onnxruntime", ("onnxruntime",)),
    "openvino": Runtime("openvino", ("openvino",)),
    "tensorrt": Runtime("tensorrt", ("cuda-python",)),
    "ncnn": Runtime("ncnn", ("ncnn",)),
    "litert": Runtime("ai_edge_litert", ("ai-edge-litert",)),
    "executorch": Runtime("executorch", ("executorch",)),
}


def install(backend: str, runner: Runner, root: str, say: Callable[[str], None]) -> str:
    """Make the virtual environment ``venv`` in the device's folder `root`, with numpy and a runtime.

    It sees the packages of the device's system as well: what is there (numpy, TensorRT) is not fetched again.
    Run again, it adds to what is there.

    Returns:
        Its interpreter.

    Raises:
        DeviceError: Python there has no venv module, or pip found no package for the device.
    """
    runtime, venv = RUNTIMES[backend], f"{root}/venv"
    say(f"virtual environment at {venv}")
    try:
        runner.run(("python3", "-m", "venv", "--system-site-packages", venv), INSTALL_TIMEOUT_S)
    except DeviceError as exc:
        raise DeviceError(f"{exc}; on Debian its venv module is in the package python3-venv") from exc
    say(", ".join(("numpy", *runtime.packages)))
    pip = (f"{venv}/bin/python", "-m", "pip", "install", "--no-input", "--disable-pip-version-check")
    runner.run((*pip, "numpy", *runtime.packages), INSTALL_TIMEOUT_S, say)
    return runner.python(runtime.module)
