"""Tiny ONNX files: of torch networks with what exporters write, and of nodes that are written by hand."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional


class Cells(nn.Module):
    """Residual additions, squeeze-excitation, a C2f, an upsampling, a concatenation; logits (n, 4).

    Args:
        times: how many times as wide as 8 channels it is at its narrowest.
    """

    def __init__(self, times: int = 1) -> None:
        super().__init__()
        n = 8 * times
        self.stem = nn.Sequential(nn.Conv2d(3, 2 * n, 3, 2, 1), nn.BatchNorm2d(2 * n), nn.SiLU())
        self.block = nn.Sequential(nn.Conv2d(2 * n, 2 * n, 3, 1, 1), nn.BatchNorm2d(2 * n), nn.ReLU())
        self.squeeze, self.excite = nn.Conv2d(2 * n, n, 1), nn.Conv2d(n, 2 * n, 1)
        self.cv1, self.cv2 = nn.Conv2d(2 * n, 4 * n, 1), nn.Conv2d(6 * n, 3 * n, 1)
        self.inner = nn.Conv2d(2 * n, 2 * n, 3, 1, 1)
        self.deep = nn.Conv2d(3 * n, 2 * n, 3, 2, 1)
        self.depthwise = nn.Conv2d(5 * n, 5 * n, 3, 1, 1, groups=5 * n)
        self.head = nn.Linear(5 * n, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.block(x)
        gate = self.excite(functional.relu(self.squeeze(x.mean((2, 3), keepdim=True)))).sigmoid()
        x = x * gate
        kept, on = functional.silu(self.cv1(x)).chunk(2, 1)
        x = self.cv2(torch.cat([kept, on, functional.silu(self.inner(on))], 1))
        deep = functional.interpolate(self.deep(x), scale_factor=2, mode="nearest")
        x = functional.hardswish(self.depthwise(torch.cat([x, deep], 1)))
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Shuffled(nn.Module):
    """A channel shuffle between convolutions, which pruning cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 16, 1), nn.Conv2d(16, 8, 1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.a(x))
        n, c, h, w = x.shape
        x = x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(functional.relu(self.c(functional.relu(self.b(x)))))


def exported(
    model: nn.Module, path: Path, size: tuple[int, int] = (24, 32), opset: int = 17, is_open: bool = False
) -> Path:
    """Write a network as ONNX, its batch norms with statistics of their own, for images of a size."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(), (torch.zeros(1, 3, *size),), buffer, opset_version=opset, input_names=["images"],
            output_names=["scores"], dynamo=False,
            dynamic_axes={"images": {0: "n", 2: "h", 3: "w"}} if is_open else None,
        )  # fmt: skip
    path.write_bytes(buffer.getvalue())
    return path


def written(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Sequence[Any]] | None = None,
    weights: dict[str, np.ndarray] | None = None,
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
) -> Path:
    """Write a graph whose last node gives its output ``y``; its input is ``x`` (1, 3, 8, 8) by default."""
    shapes = inputs or {"x": (1, 3, 8, 8)}
    graph = helper.make_graph(
        list(nodes),
        "written",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.mine", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path
