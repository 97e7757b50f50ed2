"""What a network is, as one digest: its layers, their settings and their weights, and nothing of its file.

Two files of one network differ in their bytes: by the name that they were first saved under, by the version
that wrote them, by the shapes that a forward pass has left in the head. A stage that is keyed by this digest
is made once for a network, whoever asks for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

TRANSIENT = frozenset(("training", "shape", "anchors", "strides", "criterion", "transforms", "pt_path"))
"""Attributes that a run leaves in a module, or that tell where it came from: nothing that it computes by."""


def identity(model: nn.Module) -> str:
    """Return the sha256, in hex, of what a network is.

    It covers, for every submodule by its dotted name: its class, its attributes but those of `TRANSIENT`, and
    its parameters and buffers, by dtype, shape and bytes.
    """
    total = hashlib.sha256()
    for name, module in model.named_modules(remove_duplicate=False):
        kind = type(module)
        settings = {key: value for key, value in vars(module).items() if _tells(key)}
        entry = [name, f"{kind.__module__}.{kind.__qualname__}", _plain(settings)]
        total.update(json.dumps(entry, sort_keys=True).encode())
        own = {"_parameters": module._parameters, "_buffers": module._buffers}
        for part, tensors in own.items():
            for key, tensor in tensors.items():
                total.update(f"\0{part}.{key}\0".encode())
                if tensor is not None:
                    total.update(_bytes(tensor))
    return total.hexdigest()


def _tells(attribute: str) -> bool:
    return not attribute.startswith("_") and attribute not in TRANSIENT


def _plain(value: Any, around: frozenset[int] = frozenset()) -> Any:
    """Return a value in a form that JSON takes and that is the same for equal values.

    Args:
        around: ids of the values that this one lies in: one of them again is named by its class alone.
    """
    if id(value) in around:
        return [type(value).__qualname__, "around"]
    into = around | {id(value)}
    match value:
        case None | bool() | int() | float() | str():
            found: Any = value
        case torch.Tensor():
            found = hashlib.sha256(_bytes(value)).hexdigest()
        case Mapping():
            found = {str(key): _plain(entry, into) for key, entry in value.items()}
        case list() | tuple():
            found = [_plain(entry, into) for entry in value]
        case _:
            inside = getattr(value, "__dict__", None)
            found = [type(value).__qualname__, str(value) if inside is None else _plain(inside, into)]
    return found


def _bytes(tensor: torch.Tensor) -> bytes:
    """Return dtype, shape and content of a tensor in the order of its elements, however it lies in memory."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    head = f"{tensor.dtype} {list(tensor.shape)}\0".encode()
    return head + flat.view(torch.uint8).numpy().tobytes() if flat.numel() else head
