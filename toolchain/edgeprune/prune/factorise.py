"""Convolution rewriting: a k x k convolution becomes two or three smaller ones that start from its weights.

The factors minimise the error of the weights with the batch norm folded in. The fold is then undone in the
last factor, which keeps batch norm and activation, so that training goes on as before. The result is made of
`nn.Sequential`, `nn.Conv2d` and the layer's own class, which checkpoints, ultralytics' trainer, fuse, export
and the dependency graph all know.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from edgeprune.core.errors import ModelError
from edgeprune.models.blocks import copy_layer_attributes
from edgeprune.prune.groups import kept_whole

Factorise = Callable[[torch.Tensor, int], list[torch.Tensor]]
"""Weight (o, i, k, k) and rank -> the factors' weights (o, i / groups, h, w), in the order they run."""

GROUPS = 4
"""Groups of the `grouped` rewriting: 64 and more channels leave each of them a whole step of 16."""


@dataclass(frozen=True)
class Rewrite:
    """How one convolution is rewritten.

    Attributes:
        kind: a key of `REWRITES`.
        rank: channels between the factors; a multiple of the input channels for ``depthwise``, of `GROUPS`
            for ``grouped``.
    """

    kind: str
    rank: int


def spatial(weight: torch.Tensor, rank: int) -> list[torch.Tensor]:
    """k x 1 then 1 x k (Jaderberg et al., arXiv 1405.3866); exact at rank k * min(i, o)."""
    out, into, height, width = weight.shape
    matrix = weight.permute(1, 2, 0, 3).reshape(into * height, out * width)
    left, right = _halves(matrix, rank)
    return [
        left.T.reshape(-1, into, height, 1),
        right.reshape(-1, out, width).transpose(0, 1).unsqueeze(2),
    ]


def channel(weight: torch.Tensor, rank: int) -> list[torch.Tensor]:
    """k x k to `rank` channels, then 1 x 1 (Zhang et al., arXiv 1505.06798); exact at rank o."""
    return _by_groups(weight, rank, 1)


def tucker(weight: torch.Tensor, rank: int) -> list[torch.Tensor]:
    """1 x 1, k x k, 1 x 1 (Tucker-2 by HOSVD; Kim et al., arXiv 1511.06530); exact at rank max(i, o)."""
    out, into = weight.shape[:2]
    left = torch.linalg.svd(weight.reshape(out, -1), full_matrices=False)[0][:, :rank]
    right = torch.linalg.svd(weight.transpose(0, 1).reshape(into, -1), full_matrices=False)[0][:, :rank]
    core = torch.einsum("oihw,or,is->rshw", weight, left, right)
    # The bases are orthonormal, so the core holds the whole scale: spread it as evenly as the SVDs do.
    scale = core.square().mean().pow(1 / 6).clamp_min(torch.finfo(core.dtype).tiny)
    return [(right.T * scale)[:, :, None, None], core / scale**2, (left * scale)[:, :, None, None]]


def depthwise(weight: torch.Tensor, rank: int) -> list[torch.Tensor]:
    """Depthwise k x k, then 1 x 1 (Guo et al., arXiv 1808.05517); exact at rank i * min(o, k * k)."""
    return _by_groups(weight, rank, weight.shape[1])


def grouped(weight: torch.Tensor, rank: int) -> list[torch.Tensor]:
    """k x k in `GROUPS` groups, then 1 x 1 (Peng et al., ECCV 2018); exact at rank GROUPS * o."""
    return _by_groups(weight, rank, GROUPS)


REWRITES: dict[str, Factorise] = {
    "spatial": spatial,
    "channel": channel,
    "tucker": tucker,
    "depthwise": depthwise,
    "grouped": grouped,
}


def rewritable(
    model: nn.Module, fixed: Sequence[nn.Module], skip: Sequence[str] = ()
) -> dict[str, nn.Module]:
    """Return the layers (convolution, batch norm, activation) with a dense k x k kernel, k > 1, by name.

    Args:
        fixed: module instances that stay as they are, with all modules in them.
        skip: glob patterns of layer names that stay as well.
    """
    kept = kept_whole(model, fixed, skip)
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(conv := getattr(module, "conv", None), nn.Conv2d)
        and isinstance(getattr(module, "bn", None), nn.BatchNorm2d)
        and conv.groups == 1
        and min(conv.kernel_size) > 1
        and not {module, conv} & kept
    }


def rewrite(model: nn.Module, plan: Mapping[str, Rewrite]) -> nn.Module:
    """Return a copy of a network with the named layers rewritten.

    Raises:
        ModelError: a name is no rewritable layer, or a rank does not fit the layer.
    """
    twin = copy.deepcopy(model)
    layers = rewritable(twin, ())
    for name, how in plan.items():
        if name not in layers:
            raise ModelError(f"{name}: not a k x k convolution with a batch norm behind it; see rewritable")
        layer = layers[name]
        twin.set_submodule(name, _rewritten(name, layer, how))
    return twin


def relative_error(layer: Any, how: Rewrite) -> float:
    """Return the norm of what a rewriting loses of a layer's weights, over theirs, batch norm folded in."""
    weight, _ = _folded(layer)
    into, height, width = weight.shape[1:]
    # The factors' product is their answer to one impulse in every input channel.
    answer = torch.zeros(into, into, 2 * height - 1, 2 * width - 1)
    answer[range(into), range(into), height - 1, width - 1] = 1
    for factor in REWRITES[how.kind](weight, how.rank):
        answer = nn.functional.conv2d(answer, factor.float(), groups=answer.shape[1] // factor.shape[1])
    product = answer.flip(2, 3).transpose(0, 1)
    return float((weight - product).norm() / weight.norm())


def _rewritten(name: str, layer: Any, how: Rewrite) -> nn.Sequential:
    conv: nn.Conv2d = layer.conv
    groups = {"depthwise": conv.in_channels, "grouped": GROUPS}.get(how.kind, 1)
    if how.rank < 1 or how.rank % groups or conv.in_channels % groups:
        raise ModelError(
            f"{name}: rank {how.rank} does not fit {how.kind} with {conv.in_channels} input channels"
        )
    weight, scale = _folded(layer)
    *firsts, last = REWRITES[how.kind](weight, how.rank)
    modules: list[nn.Module] = []
    channels = conv.in_channels
    for factor in firsts:
        modules.append(_convolution(conv, factor, channels))
        channels = factor.shape[0]
    end = copy.deepcopy(layer)  # its batch norm and activation stay
    end.conv = _convolution(conv, last / scale, channels)
    end.conv.bias = conv.bias
    whole = nn.Sequential(*modules, end)
    copy_layer_attributes(layer, whole)
    return whole.to(conv.weight.device)


def _convolution(original: nn.Conv2d, weight: torch.Tensor, channels: int) -> nn.Conv2d:
    """Build one factor: along each axis that it covers, stride and padding are the original's."""
    out, into, *kernel = weight.shape
    covers = [own == whole for own, whole in zip(kernel, original.kernel_size, strict=True)]

    def along(values: Any, neutral: int) -> Any:
        return tuple(value if covered else neutral for value, covered in zip(values, covers, strict=True))

    conv = nn.Conv2d(
        channels,
        out,
        (kernel[0], kernel[1]),
        along(original.stride, 1),
        along(original.padding, 0),
        along(original.dilation, 1),
        groups=channels // into,
        bias=False,
    )
    conv.weight = nn.Parameter(weight.to(original.weight.dtype).contiguous())
    return conv


def _folded(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float64 weights with the batch norm's scale in them, and that scale as (o, 1, 1, 1), above 0."""
    bn: nn.BatchNorm2d = layer.bn
    deviation = (cast(torch.Tensor, bn.running_var).double() + bn.eps).sqrt()
    scale = bn.weight.detach().double().abs() / deviation
    # A dead channel's scale of 0 could not be divided out again.
    scale = scale.clamp_min(max(1e-3 * float(scale.mean()), 1e-12))[:, None, None, None]
    return layer.conv.weight.detach().double() * scale, scale


def _halves(matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (..., m, r) and (..., r, n) whose product is nearest to (..., m, n), the scale shared evenly."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    root = values[..., :rank].sqrt()
    return left[..., :rank] * root[..., None, :], root[..., :, None] * right[..., :rank, :]


def _by_groups(weight: torch.Tensor, rank: int, groups: int) -> list[torch.Tensor]:
    """Factor into a k x k convolution of `groups` groups and a 1 x 1 convolution over all they give."""
    out, into, height, width = weight.shape
    each = into // groups
    matrices = weight.reshape(out, groups, each * height * width).transpose(0, 1)
    left, right = _halves(matrices, rank // groups)
    return [
        right.reshape(-1, each, height, width),
        left.transpose(0, 1).reshape(out, -1)[:, :, None, None],
    ]
