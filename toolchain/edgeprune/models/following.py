"""Which blocks of a network the dependency graph can follow, judged by the operations that they run.

`prune/whole.py` lists classes that are proven. torchvision, timm and a user's own network have hundreds of
others. So their forward pass is watched once, operation by operation (torch's dispatch mode): a block is
followed where all that it does itself with feature maps is in `RULES`, in the shapes that the rule asks for.
Squeeze-and-excitation, concatenation and a flatten before a linear layer are. A channel shuffle, a split by
channels, attention and a layer norm are not, and their block stays whole. Each cut is proven besides, see
`prune/proof.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgeprune.core.errors import ModelError

MARK = "_not_followed"
"""Attribute of a module that was judged: its own operation that cannot be followed, empty where all can."""


class Call(NamedTuple):
    """One operation as it ran.

    Attributes:
        owner: the innermost module whose forward pass it is part of.
        args: as they were given.
        features: the tensors among them that depend on a convolution's output.
        out: what it gave.
    """

    owner: nn.Module
    args: tuple[Any, ...]
    features: list[torch.Tensor]
    out: Any


Rule = Callable[[Call], bool]


def _any(call: Call) -> bool:
    """Each value by itself: channels stay where they are."""
    return True


def _convolved(call: Call) -> bool:
    """By a layer's own weight: one that is computed from others would be another one after the cut."""
    kinds = nn.Conv2d | nn.ConvTranspose2d
    return isinstance(call.owner, kinds) and call.args[1] is call.owner.weight


def _normed(call: Call) -> bool:
    return isinstance(call.owner, nn.BatchNorm2d)


def _multiplied(call: Call) -> bool:
    return isinstance(call.owner, nn.Linear)


def _paired(call: Call) -> bool:
    """Two tensors of the same channels, or one and a number; other sizes may be 1 (squeeze-excitation)."""
    shapes = [one.shape for one in call.args[:2] if isinstance(one, torch.Tensor) and one.dim()]
    if len(shapes) < 2:
        return True
    if len(call.features) < 2:  # a constant: only one that is the same for all channels goes with any width
        other = next(one for one in call.args[:2] if all(one is not each for each in call.features))
        axis = 1 - call.out.dim() + other.dim()  # of the constant, that goes with the channels
        return bool(axis < 0 or other.shape[axis] == 1)
    return len(shapes[0]) == len(shapes[1]) and shapes[0][1] == shapes[1][1]


def _joined(call: Call) -> bool:
    """Along the channels."""
    tensors, dim = call.args[0], call.args[1] if len(call.args) > 1 else 0
    return dim in (1, 1 - tensors[0].dim()) and len(call.features) == len(tensors)


def _spatial_mean(call: Call) -> bool:
    given = call.features[0]
    dims = {dim % given.dim() for dim in call.args[1]} if len(call.args) > 1 and call.args[1] else set()
    return given.dim() == 4 and bool(dims) and dims <= {2, 3}


def _flattened(call: Call) -> bool:
    """Channels stay apart: (n, c, h, w) to (n, c h w), or sizes of 1 taken away or added behind them."""
    before, after = call.features[0].shape, call.out.shape
    if before[:1] != after[:1]:
        return False
    return len(after) == 2 if len(before) == 4 and math.prod(before[2:]) > 1 else before[1:2] == after[1:2]


def _unchanged(call: Call) -> bool:
    """A cut that takes nothing away."""
    return bool(call.out.shape == call.features[0].shape)


def _padded(call: Call) -> bool:
    return len(call.args[1]) <= 4


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(
        (
            "abs", "alias", "clamp", "clamp_", "clamp_min", "clone", "contiguous", "detach", "elu", "elu_",
            "exp", "gelu", "hardsigmoid", "hardsigmoid_", "hardswish", "hardswish_", "hardtanh", "hardtanh_",
            "leaky_relu", "leaky_relu_", "log", "mish", "mish_", "neg", "pow", "relu", "relu_", "sigmoid",
            "sigmoid_", "silu", "silu_", "softplus", "sqrt", "tanh", "tanh_", "_to_copy",
            "_adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "max_pool2d_with_indices",
            "reflection_pad2d", "replication_pad2d", "upsample_bicubic2d", "upsample_bilinear2d",
            "upsample_nearest2d",
        ),
        _any,
    ),
    **dict.fromkeys(
        ("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "maximum", "minimum"), _paired
    ),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "squeeze", "unsqueeze"), _flattened),
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"), _normed
    ),
    **dict.fromkeys(("addmm", "mm"), _multiplied),
    "cat": _joined,
    "constant_pad_nd": _padded,
    "convolution": _convolved,
    "expand": _unchanged,
    "mean": _spatial_mean,
    "slice": _unchanged,
}  # fmt: skip
"""ATen operations that keep each channel apart in a way that torch-pruning follows, and when they do."""


def mark_followed(model: nn.Module, example: torch.Tensor, ends: Iterable[nn.Module]) -> None:
    """Mark every module of a network with whether its own operations can be followed, see `MARK`.

    Args:
        example: one input, float32 (1, 3, H, W).
        ends: the layers that make the outputs; what is done with their results is not judged.

    Raises:
        ModelError: what the network does between its blocks cannot be followed, so no block can be left out.
    """
    watch = _Watch(ends)
    hooks = [
        hook
        for module in model.modules()
        for hook in (
            module.register_forward_pre_hook(watch.enter),
            module.register_forward_hook(watch.leave),
        )
    ]
    try:
        with torch.no_grad(), watch:
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
    if model in watch.faults:
        raise ModelError(
            f"{type(model).__name__}: its own forward pass runs {watch.faults[model]!r} on feature maps, "
            "which pruning cannot follow; move that into a block (an nn.Module), which is then left whole"
        )
    for module in model.modules():
        setattr(module, MARK, watch.faults.get(module, ""))


class _Watch(TorchDispatchMode):
    """Sees every operation of a forward pass, and remembers which tensors are feature maps."""

    def __init__(self, ends: Iterable[nn.Module]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.faults: dict[nn.Module, str] = {}
        self._ends = set(ends)
        self._inside: list[nn.Module] = []
        self._features: dict[
            int, torch.Tensor
        ] = {}  # kept, so that no other tensor gets the id of a freed one

    def enter(self, module: nn.Module, _args: Any) -> None:
        self._inside.append(module)

    def leave(self, _module: nn.Module, _args: Any, _out: Any) -> None:
        self._inside.pop()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name, owner = func.overloadpacket.__name__, self._inside[-1]
        features = [one for one in tree_leaves((args, kwargs)) if id(one) in self._features]
        if not features and name != "convolution":
            return out
        rule = RULES.get(name)
        if rule is None or not rule(Call(owner, tuple(args), features, out)):
            self.faults.setdefault(owner, name)
        if owner not in self._ends:
            tensors = [one for one in tree_leaves(out) if isinstance(one, torch.Tensor)]
            self._features |= {id(one): one for one in tensors}
        return out
