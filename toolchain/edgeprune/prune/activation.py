"""Activation swap: SiLU becomes a piecewise linear function that int8 runtimes fold into the convolution.

SiLU is two operators more behind every convolution of a quantized graph. Which activation is the fastest is a
matter of the runtime: an int8 yolov8n took 15.1 ms with SiLU on ONNX Runtime, 11.9 ms with ReLU6 and 19.8 ms
with Hardswish. So the swap is measured like any other pass.

No weight changes, and a network whose every activation changes at once computes nothing of use. So the
training that follows starts from SiLU and eases the new activation in, step by step.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
}


def swap_activation(model: nn.Module, kind: str, skip: Sequence[str] = ()) -> nn.Module:
    """Return a copy of a network with every SiLU replaced.

    Args:
        kind: a key of `ACTIVATIONS`.
        skip: glob patterns of layer names that keep theirs, and so do all layers in them.
    """
    twin = copy.deepcopy(model)
    names = silu_names(twin, skip)
    for name in names:
        # One instance each: ultralytics hands the same SiLU to every layer, and to models built later on.
        twin.set_submodule(name, _new(kind))
    config: Any = getattr(twin, "yaml", None)
    if names and isinstance(config, dict):  # what ultralytics would rebuild the network from
        config["activation"] = f"torch.nn.{ACTIVATIONS[kind].__name__}()"
    return twin


def _new(kind: str) -> nn.Module:
    activation: Any = ACTIVATIONS[kind]()
    activation.untrained = True
    return activation  # type: ignore[no-any-return]


def silu_names(model: nn.Module, skip: Sequence[str] = ()) -> list[str]:
    """Name every place of a network that holds a SiLU, shared instances at each of their places."""
    return [
        name
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, nn.SiLU) and not _skipped(name, skip)
    ]


def _skipped(name: str, patterns: Sequence[str]) -> bool:
    parts = name.split(".")
    layers = [".".join(parts[: end + 1]) for end in range(len(parts))]
    return any(fnmatchcase(layer, pattern) for layer in layers for pattern in patterns)
