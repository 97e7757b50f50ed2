"""Loading Ultralytics checkpoints without running their code.

A `.pt` file is a pickle and can run anything. `torch.load(weights_only=True)` only builds the classes on an
allow-list; this is ours: what a detection or
classification checkpoint of the v5u, v8, 11 and 26 families is made of.
"""

from __future__ import annotations

import pickle
import pickletools
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from edgeprune.errors import ModelError

ALLOWED: tuple[str, ...] = (
    "torch.nn.modules.activation.Hardswish",
    "torch.nn.modules.activation.LeakyReLU",
    "torch.nn.modules.activation.ReLU",
    "torch.nn.modules.activation.ReLU6",
    "torch.nn.modules.activation.SiLU",
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.dropout.Dropout",
    "torch.nn.modules.linear.Identity",
    "torch.nn.modules.linear.Linear",
    "torch.nn.modules.pooling.AdaptiveAvgPool2d",
    "torch.nn.modules.pooling.MaxPool2d",
    "torch.nn.modules.upsampling.Upsample",
    # What a classifier's trainer leaves in its checkpoint of how it resized the images.
    "torchvision.transforms.functional.InterpolationMode",
    "torchvision.transforms.transforms.CenterCrop",
    "torchvision.transforms.transforms.Compose",
    "torchvision.transforms.transforms.Normalize",
    "torchvision.transforms.transforms.Resize",
    "torchvision.transforms.transforms.ToTensor",
    "ultralytics.data.augment.CenterCrop",
    "ultralytics.data.augment.ToTensor",
    "ultralytics.nn.modules.block.Attention",
    "ultralytics.nn.modules.block.Bottleneck",
    "ultralytics.nn.modules.block.C2PSA",
    "ultralytics.nn.modules.block.C2f",
    "ultralytics.nn.modules.block.C3",
    "ultralytics.nn.modules.block.C3k",
    "ultralytics.nn.modules.block.C3k2",
    "ultralytics.nn.modules.block.DFL",
    "ultralytics.nn.modules.block.PSABlock",
    "ultralytics.nn.modules.block.SPPF",
    "ultralytics.nn.modules.conv.Concat",
    "ultralytics.nn.modules.conv.Conv",
    "ultralytics.nn.modules.conv.DWConv",
    "ultralytics.nn.modules.head.Classify",
    "ultralytics.nn.modules.head.Detect",
    "ultralytics.nn.tasks.ClassificationModel",
    "ultralytics.nn.tasks.DetectionModel",
    "ultralytics.utils.IterableSimpleNamespace",
    "edgeprune.models.blocks.SplitC2f",
    "edgeprune.models.blocks.SplitC2PSA",
)

_ZIP_MAGIC = b"PK\x03\x04"
_REFUSED = re.compile(r"GLOBAL ([\w.]+)|class ([\w.]+)")


def load_checkpoint(path: Path, trust: bool = False) -> dict[str, Any]:
    """Read a checkpoint file as its dictionary.

    Args:
        trust: unpickle without the allow-list, which runs whatever code the file holds.

    Raises:
        ModelError: the file is missing, truncated, of another format, or wants a class that is not allowed.
    """
    _check_form(path)
    try:
        with torch.serialization.safe_globals(_allowed_classes()):
            checkpoint = torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as exc:
        raise ModelError(_refusal(path, str(exc))) from exc
    except Exception as exc:  # the opcodes of a damaged pickle lead the unpickler anywhere
        raise ModelError(
            f"{path}: the checkpoint is damaged or incomplete ({_first_line(exc)}); copy or export it again"
        ) from exc
    if not isinstance(checkpoint, dict):
        kind = type(checkpoint).__name__
        raise ModelError(
            f"{path}: an Ultralytics checkpoint is a dictionary with the model in it, not {kind}"
        )
    return checkpoint


def classes_in(path: Path) -> list[str]:
    """List the classes that a checkpoint names, without running it; none where it cannot be read as one."""
    try:
        names: list[str] = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # `load_checkpoint` says what is wrong with it
        return []
    return names


def _check_form(path: Path) -> None:
    if path.suffix.lower() == ".onnx":
        raise ModelError(
            f"{path}: this is an ONNX file; pruning needs the trained checkpoint (.pt) it came from"
        )
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError as exc:
        raise ModelError(f"{path}: the model cannot be read: {exc.strerror}") from exc
    if not head:
        raise ModelError(f"{path}: the model file is empty")
    if not head.startswith((_ZIP_MAGIC, b"\x80")):
        raise ModelError(f"{path}: not a PyTorch checkpoint; give the .pt file that training wrote")


def _refusal(path: Path, message: str) -> str:
    found = _REFUSED.search(message)
    name = found.group(1) or found.group(2) if found else _first_global(path, message)
    if name is None:
        return f"{path}: the checkpoint is damaged or is not one; give the .pt file that training wrote"
    if name.startswith(("ultralytics.nn.tasks.", "ultralytics.nn.modules.head.")):
        return f"{path}: holds {name}: only plain detection and classification models are supported"
    return (
        f"{path}: refused: the file wants to load {name}, which is not on the list of safe classes; "
        "if you know where the file comes from, load it with --trust-model"
    )


def _first_global(path: Path, message: str) -> str | None:
    """Name the first class that a plain pickle of a protocol newer than torch's wants, without running it."""
    if "Unsupported operand" not in message:
        return None
    texts: list[str] = []
    try:
        with path.open("rb") as stream:
            for opcode, value, _ in pickletools.genops(stream):
                if opcode.name == "STACK_GLOBAL":  # module and name lie on the stack
                    return ".".join(texts[-2:])
                if isinstance(value, str):
                    texts.append(value)
    except ValueError:
        pass
    return None


def _allowed_classes() -> list[Any]:
    names = (name.rpartition(".") for name in ALLOWED)
    return [getattr(import_module(module), cls) for module, _, cls in names]


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0][:120]
