"""Coupled channel groups, through torch-pruning's dependency graph (DepGraph, arXiv 2301.12900)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from edgeprune.errors import ModelError


@dataclass(frozen=True)
class Group:
    """Channels that can only be removed together, over every layer that shares them.

    Attributes:
        name: dotted name of the root convolution, whose output channels the group numbers.
        root: that convolution.
        coupled: torch-pruning's group over all channels, as criteria read it.
        width: number of channels.
    """

    name: str
    root: nn.Module
    coupled: Any
    width: int


def trace(model: nn.Module, example: torch.Tensor, fixed: Sequence[nn.Module]) -> tp.DependencyGraph:
    """Trace a model's dependency graph in eval mode, with gradients on, up to its last fixed convolutions.

    What a detection head computes after them (flattening, DFL, anchors) prunes nothing, and torch-pruning
    follows its flattened indices for minutes and gigabytes.

    Raises:
        ModelError: torch-pruning cannot trace this network.
    """
    if not all(parameter.requires_grad for parameter in model.parameters()):
        model.requires_grad_(True)  # without gradients torch-pruning prunes nothing, silently
    model.eval()
    try:
        return tp.DependencyGraph().build_dependency(
            model, example_inputs=example, forward_fn=lambda net, images: _outputs_of(net, images, fixed)
        )
    except (IndexError, KeyError, RuntimeError, ZeroDivisionError, AttributeError) as exc:
        raise ModelError(f"the network cannot be traced for pruning: {type(exc).__name__}: {exc}") from exc


def _outputs_of(model: nn.Module, images: torch.Tensor, fixed: Sequence[nn.Module]) -> Any:
    caught: list[torch.Tensor] = []
    ends = [module for module in fixed if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [end.register_forward_hook(lambda _module, _args, out: caught.append(out)) for end in ends]
    try:
        whole = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return caught or whole


def find_groups(
    graph: tp.DependencyGraph, model: nn.Module, fixed: Sequence[nn.Module], skip: Iterable[str] = ()
) -> list[Group]:
    """List the prunable groups of convolution channels, in the order of the network.

    Args:
        fixed: module instances whose channels, and those of all modules in them, must stay.
        skip: glob patterns of layer names that must stay as well.
    """
    names = {module: name for name, module in model.named_modules()}
    whole = list(kept_whole(model, fixed, skip))
    groups = []
    for coupled in graph.get_all_groups(ignored_layers=whole, root_module_types=[nn.Conv2d]):
        root = coupled[0].dep.target.module
        if root.groups > 1:  # a depthwise convolution follows its producer, it is no root of its own
            continue
        groups.append(Group(names[root], root, coupled, len(coupled[0].idxs)))
    return groups


def kept_whole(model: nn.Module, fixed: Sequence[nn.Module], skip: Iterable[str] = ()) -> set[nn.Module]:
    """Return all modules of a network whose own channels must stay; see `find_groups`."""
    patterns = tuple(skip)
    skipped = [
        module for name, module in model.named_modules() if any(fnmatchcase(name, p) for p in patterns)
    ]
    return {inner for owner in (*fixed, *skipped) for inner in owner.modules()}


def remove(graph: tp.DependencyGraph, group: Group, channels: Sequence[int]) -> None:
    """Remove channels of a group from every layer that shares them, in place."""
    graph.get_pruning_group(group.root, tp.prune_conv_out_channels, idxs=sorted(channels)).prune()


def count_macs(model: nn.Module, example: torch.Tensor) -> tuple[int, int]:
    """Return multiply-accumulates for one `example` input, and the number of parameters."""
    macs, parameters = tp.utils.count_ops_and_params(model, example)
    return int(macs), int(parameters)
