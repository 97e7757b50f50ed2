"""Names of modules by the names of ONNX nodes: what the user's framework called a layer stays recognisable.

``/layer1/layer1.0/conv1/Conv`` becomes ``layer1.0.conv1``: PyTorch's exporter repeats a module's own name in
that of its children.
"""

from __future__ import annotations

import re

from torch import nn

_SYNTHETIC = re.compile(r"^(node_)?[A-Za-z]+\d*_\d+$|^$")
_WEIGHT = re.compile(r"^(?P<layer>.+)\.(weight|kernel)$")


class Names:
    """Gives out dotted names of modules, each once."""

    def __init__(self) -> None:
        self._leaves: set[str] = set()
        self._scopes: set[str] = set()

    def take(self, operator: str, node: str, weight: str = "", is_layer: bool = False) -> str:
        """Return a free name for the module of a node.

        Args:
            operator: the node's operator.
            node: the node's name, which may be empty or made up.
            weight: name of the layer's weight, which exporters of PyTorch take from the layer.
            is_layer: whether the operator's own name is left out.
        """
        told = _WEIGHT.match(weight)
        if told and "::" not in weight:
            parts = told["layer"].split(".")
        else:
            parts = _parts(operator, node)
            parts = parts if is_layer and parts else [*parts, operator]
        parts = [_safe(part) for part in parts]
        return self._free(parts)

    def _free(self, parts: list[str]) -> str:
        for depth in range(1, len(parts)):
            if ".".join(parts[:depth]) in self._leaves:  # a layer is no scope of others
                parts = [*parts[: depth - 1], "_".join(parts[depth - 1 :])]
                break
        base = ".".join(parts)
        name, count = base, 0
        while name in self._leaves or name in self._scopes:
            count += 1
            name = f"{base}_{count}"
        self._leaves.add(name)
        own = name.split(".")
        self._scopes |= {".".join(own[:depth]) for depth in range(1, len(own))}
        return name


def _parts(operator: str, node: str) -> list[str]:
    if _SYNTHETIC.match(node):
        return []
    parts: list[str] = []
    found = [part for part in node.split("/") if part]
    if found and re.match(rf"^{operator}(_\d+)?$", found[-1]):
        found.pop()
    for part in found:
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(part)
    return [piece for part in parts for piece in part.split(".") if piece]


def _safe(part: str) -> str:
    """Return a part without what no module may be called, or is called already."""
    part = re.sub(r"\W", "_", part) or "_"
    return f"{part}_" if hasattr(nn.Module, part) or part in ("plan", "told") else part
