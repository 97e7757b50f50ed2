"""The extras of an install: a light one measures; to prune, train, convert or draw takes an extra."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from edgeprune.core.errors import RuntimeMissingError

# The modules of each extra of pyproject.toml. Those of runtimes are not here: each says how to get it.
MODULES: Mapping[str, tuple[str, ...]] = {
    "build": (
        "torch",
        "torchvision",
        "ultralytics",
        "torch_pruning",
        "onnx",
        "onnxsim",
        "cv2",
        "PIL",
        "sklearn",
        "scipy",
        "nncf",
    ),
    "charts": ("matplotlib",),
    "search": ("optuna",),
    "timm": ("timm", "safetensors"),
}
_FIRST = ("torch", "ultralytics", "torch_pruning", "onnx", "onnxsim", "cv2")
"""What every build needs, whatever its target."""


def how_to_get(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'edgeprune[{extra}]'"


def extra_of(module: str) -> str | None:
    """Return the extra that brings a top-level module, None for one that no extra brings."""
    return next((extra for extra, modules in MODULES.items() if module in modules), None)


def is_there(extra: str) -> bool:
    """Return whether what an extra brings is installed."""
    return all(find_spec(module) for module in MODULES[extra])


def require_build(command: str) -> None:
    """Refuse a command that prunes, trains or converts on an install that only measures.

    Raises:
        RuntimeMissingError: the extra `build` is not installed.
    """
    if missing := [module for module in _FIRST if find_spec(module) is None]:
        raise RuntimeMissingError(
            f"{command} needs {', '.join(missing)}, not installed here: {how_to_get('build')}"
        )


def missing_module(exc: ModuleNotFoundError) -> RuntimeMissingError | None:
    """Return the error of a module that is not installed because its extra is not; None for another one."""
    module = (exc.name or "").partition(".")[0]
    extra = extra_of(module)
    if extra is None or find_spec(module) is not None:  # damaged is not the same as missing
        return None
    return RuntimeMissingError(f"this needs {module}, not installed here: {how_to_get(extra)}")
