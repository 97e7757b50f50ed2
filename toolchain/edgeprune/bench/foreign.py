"""What lies at a path that no runtime here loads, in words: what it is, and what to give instead."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from edgeprune.backends import all_backends

# By the end of the name, as Ultralytics' exporter and the vendors' compilers write it.
FILES: Final[Mapping[str, str]] = {
    ".torchscript": "TorchScript",
    ".ptl": "TorchScript for phones",
    ".pt2": "a program of torch.export",
    ".mnn": "MNN",
    ".pb": "TensorFlow",
    ".keras": "Keras",
    ".h5": "Keras",
    ".mlmodel": "Core ML",
    ".rknn": "RKNN",
    ".hef": "Hailo",
    ".dlc": "Qualcomm's SNPE",
    ".om": "Huawei Ascend",
    ".xmodel": "AMD Xilinx",
    ".pdmodel": "PaddlePaddle",
    ".blob": "compiled for one device",
    ".ort": "made for ONNX Runtime's mobile builds",
}
FOLDERS: Final[Mapping[str, str]] = {
    "_saved_model": "TensorFlow SavedModel",
    "_paddle_model": "PaddlePaddle",
    "_web_model": "TensorFlow.js",
    "_imx_model": "Sony IMX500",
    "_rknn_model": "RKNN",
    "_axelera_model": "Axelera",
    "_deepx_model": "DEEPX",
    "_hailo_model": "Hailo",
    "_ascend_model": "Huawei Ascend",
    "_xilinx_model": "AMD Xilinx",
    ".mlpackage": "Core ML",
    ".aimodel": "Core AI",
}
_CHECKPOINTS = (".pt", ".pth", ".ckpt", ".safetensors")


def describe_accepted() -> str:
    """Say what `bench` and `check` take, by the runtimes there are."""
    kinds = [backend.TAKES for backend in all_backends() if backend.TAKES]
    return f"a build folder, {', '.join(kinds[:-1])} or {kinds[-1]}, or the folder of one"


def explain_refusal(path: Path) -> str:
    """Say in one line why nothing can be measured at a path, and what to do."""
    if not path.exists():
        return f"{path}: no such file or folder{_near(path)}"
    if not path.is_dir() and not path.is_file():
        return f"{path}: neither a regular file nor a folder"
    if path.suffix in _CHECKPOINTS and path.is_file():
        return f"{path}: a checkpoint is no engine; `edgeprune build --model {path.name}` makes engines of it"
    kinds = FOLDERS if path.is_dir() else FILES
    found = next((kind for ending, kind in kinds.items() if path.name.endswith(ending)), None)
    if found:
        return f"{path}: this is {found}, which edgeprune has no runtime for; give {describe_accepted()}"
    return f"{path}: nothing to measure is here; give {describe_accepted()}"


def _near(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()][:1000]
    except OSError:
        parent = path.parent
        return f"; the folder {parent} is not there" if not parent.exists() else ""
    near = get_close_matches(path.name, names, n=1, cutoff=0.7)
    return f" (did you mean {near[0]!r}?)" if near else ""
