"""Forms of a block that the dependency graph can follow; the block itself stays as it is.

They take its place while the graph is built, and hold the very same layers. What torch-pruning does not
follow is a cut through the channels: it forgets where the cut lies once the channels before it are fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch_pruning as tp
from torch import nn
from torch.nn import functional


class Half(nn.Module):
    """One half of the channels of a feature map, as `chunk(2, 1)` gives it.

    Attributes:
        place: 0 or 1.
    """

    def __init__(self, place: int, reader: nn.Module) -> None:
        super().__init__()
        self.place = place
        # In a tuple, or the convolution would belong to this module too.
        self._reader = (next(layer for layer in reader.modules() if isinstance(layer, nn.Conv2d)),)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, 2c, h, w) to (n, c, h, w)."""
        return x[:, self.start : self.start + self.width]

    @property
    def width(self) -> int:
        """Channels that it has now."""
        return self._reader[0].in_channels

    @property
    def start(self) -> int:
        """The first channel of the whole that is now its own."""
        return self.place * self.width


class _HalfPruner(tp.BasePruningFunc):  # type: ignore[misc]
    """A half has no weights: its channels go with those of what it reads and of what reads it."""

    def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: Half) -> int:
        return layer.width

    def get_in_channels(self, layer: Half) -> int:
        return 2 * layer.width


PRUNERS: dict[type[nn.Module], Any] = {Half: _HalfPruner()}
"""How torch-pruning is to treat the layers of this module."""


def map_halves(graph: tp.DependencyGraph) -> None:
    """Tell a graph which channels of a feature map each half is made of, now and after every cut."""
    for half, node in graph.module2node.items():
        if not isinstance(half, Half):
            continue
        for dep in node.dependencies:
            if dep.target in node.inputs:
                dep.index_mapping[0] = _to_whole(half)
        for source in node.inputs:
            for dep in source.dependencies:
                if dep.target is node:
                    dep.index_mapping[0] = _to_half(half)


def _to_whole(half: Half) -> Callable[[Sequence[Any]], list[Any]]:
    return lambda found: [one._replace(idx=one.idx + half.start) for one in found]


def _to_half(half: Half) -> Callable[[Sequence[Any]], list[Any]]:
    return lambda found: [
        one._replace(idx=one.idx - half.start)
        for one in found
        if half.start <= one.idx < half.start + half.width
    ]


class _ADown(nn.Module):
    """ADown (YOLOv9), whose two convolutions read one half of the channels each."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.cv1, self.cv2 = block.cv1, block.cv2
        self.upper, self.lower = Half(0, block.cv1), Half(1, block.cv2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.avg_pool2d(x, 2, 1, 0, False, True)
        lower = functional.max_pool2d(self.lower(x), 3, 2, 1)
        return torch.cat((self.cv1(self.upper(x)), self.cv2(lower)), 1)


class _CBFuse(nn.Module):
    """CBFuse (YOLOv9), its sum over stacked feature maps written as additions."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.idx = block.idx

    def forward(self, xs: Sequence[Any]) -> torch.Tensor:
        total: torch.Tensor = xs[-1]
        for place, maps in zip(self.idx, xs[:-1], strict=True):
            total = total + functional.interpolate(maps[place], size=xs[-1].shape[2:], mode="nearest")
        return total


TRACEABLE: dict[str, type[nn.Module]] = {
    "ultralytics.nn.modules.block.ADown": _ADown,
    "ultralytics.nn.modules.block.CBFuse": _CBFuse,
}
"""The form of a class that is followed, by the name of the class."""


def class_name(module: nn.Module) -> str:
    """Return the whole name of a module's class; a class derived from another has its own."""
    kind = type(module)
    return f"{kind.__module__}.{kind.__qualname__}"


def traceable(module: nn.Module) -> nn.Module | None:
    """Return the form of a block that can be followed, if it has one."""
    form = TRACEABLE.get(class_name(module))
    return None if form is None else form(module)
