"""TensorRT: the engine is built on the device, with the commands written here.

An engine matches one GPU and one TensorRT version exactly (TensorRT#4730), so a workstation can only prepare
its ONNX file. Strong typing works on TensorRT 10 and 11 alike: precisions come from the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.errors import RuntimeMissingError

if TYPE_CHECKING:
    from edgeprune.artifact import Artifact
    from edgeprune.backends import Session
    from edgeprune.device import DeviceProfile

PROVIDER = "TensorRT"
SOURCE = "onnx"
_NOT_HERE = "a TensorRT engine is built and run on the device itself; use the trtexec commands of the build"


def version() -> str | None:
    """Return the version of the TensorRT that is installed here, or None."""
    try:
        import tensorrt
    except ImportError:
        return None
    return str(tensorrt.__version__)


def compile(model: Artifact, profile: DeviceProfile, precision: str, out: Path) -> Artifact:
    """Refuse: this machine is not the device.

    Raises:
        RuntimeMissingError: always.
    """
    raise RuntimeMissingError(f"{profile.name}: {_NOT_HERE}")


def load(engine: Path, precision: str, threads: int, options: Mapping[str, str]) -> Session:
    """Refuse: this machine is not the device.

    Raises:
        RuntimeMissingError: always.
    """
    raise RuntimeMissingError(f"{engine}: {_NOT_HERE}")


def quantized_ops(engine: Path) -> int | None:
    """Return None: only the device's builder knows which layers run in int8."""
    return None


def device_commands(onnx_name: str) -> tuple[str, ...]:
    """Return the shell commands that build an engine on the device and time it there.

    Args:
        onnx_name: ONNX file in the folder that the commands run in; letters, digits, ``.-_``.
    """
    engine = f"{Path(onnx_name).stem}.engine"
    return (
        f"trtexec --onnx={onnx_name} --stronglyTyped --timingCacheFile=timing.cache --saveEngine={engine}",
        f"trtexec --loadEngine={engine} --warmUp=2000 --duration=60 --useSpinWait --percentile=50,90,99",
    )
