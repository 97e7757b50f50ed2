"""Coupled channel groups, through torch-pruning's dependency graph (DepGraph, arXiv 2301.12900)."""

from __future__ import annotations

import io
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
import torch_pruning as tp
from torch import nn

from edgeprune.core.errors import ModelError
from edgeprune.prune.recalibrate import cut_notes
from edgeprune.prune.traceable import PRUNERS, Half, map_halves
from edgeprune.prune.whole import standing_in, training_branches, whole_blocks


@dataclass(frozen=True)
class Group:
    """Channels that can only be removed together, over every layer that shares them.

    Attributes:
        name: dotted name of the root convolution, whose output channels the group numbers.
        root: that convolution.
        coupled: torch-pruning's group over all output channels of the root, as criteria read it.
        width: number of channels.
        names: dotted name of every module of the network.
        ties: outputs of the root that one channel of the group stands for: those `width` apart. Two where the
            halves of a feature map are read apart (YOLOv9's ADown) and have to stay equally wide; else one.
    """

    name: str
    root: nn.Module
    coupled: Any
    width: int
    names: Mapping[nn.Module, str]
    ties: int = 1

    def owners(self, item: Any) -> torch.Tensor:
        """Return which channel of the group each channel of an item of `coupled` goes with, int64 (n,)."""
        return torch.tensor(item.root_idxs, dtype=torch.int64) % self.width

    def outputs(self, channels: Iterable[int]) -> list[int]:
        """Return the outputs of the root that channels of the group stand for, rising."""
        return sorted(one + tie * self.width for one in channels for tie in range(self.ties))


class GroupMember(NamedTuple):
    """A layer of a group, and which of its channels are which of the group's.

    Attributes:
        produces: whether the channels are outputs of the layer; a batch norm's are.
        reads: whether they are inputs; both, for a depthwise convolution.
        channels: int64 (n,), channels of the layer.
        owners: int64 (n,), channels of the group that they go with.
    """

    name: str
    module: Any
    produces: bool
    reads: bool
    channels: torch.Tensor
    owners: torch.Tensor


def members(group: Group, *kinds: type[nn.Module]) -> Iterator[GroupMember]:
    """Yield the layers of these kinds that share a group's channels, the root first."""
    for item in group.coupled:
        module = item.dep.target.module
        if isinstance(module, kinds):
            # torch-pruning removes a depthwise convolution's and a batch norm's channels as outputs.
            produces = item.dep.handler.__name__ == "prune_out_channels"
            reads = not produces or (getattr(module, "groups", 1) > 1 and item is not group.coupled[0])
            channels = torch.tensor(item.idxs)
            yield GroupMember(group.names[module], module, produces, reads, channels, group.owners(item))


def structure(group: Group) -> Hashable:
    """Return what isomorphic groups have in common: the operations that share the channel, and on which side.

    Isomorphic Pruning (arXiv 2407.04616) ranks channels only within groups of one structure.
    """
    return tuple(
        sorted((type(item.dep.target.module).__name__, item.dep.handler.__name__) for item in group.coupled)
    )


def goes_by(group: Group, pattern: str) -> bool:
    """Whether a glob pattern names a layer that produces a group's channels, or a block around one."""
    producers = [layer.name.split(".") for layer in members(group, nn.Conv2d) if layer.produces]
    return any(
        fnmatchcase(".".join(parts[:depth]), pattern)
        for parts in producers
        for depth in range(1, len(parts) + 1)
    )


def trace(model: nn.Module, example: torch.Tensor, fixed: Sequence[nn.Module]) -> tp.DependencyGraph:
    """Trace a model's dependency graph in eval mode, with gradients on, up to its last fixed convolutions.

    Blocks that cannot be followed are not traced: `whole` says which, and stand-ins take their places. Where
    a block has a form that can (`traceable`), that is traced.

    What a detection head computes after them (flattening, DFL, anchors) prunes nothing, and torch-pruning
    follows its flattened indices for minutes and gigabytes.

    Raises:
        ModelError: torch-pruning cannot trace this network.
    """
    if not all(parameter.requires_grad for parameter in model.parameters()):
        model.requires_grad_(True)  # without gradients torch-pruning prunes nothing, silently
    model.eval()
    try:
        with standing_in(model, example):
            graph = tp.DependencyGraph().build_dependency(
                model,
                example_inputs=example,
                forward_fn=lambda net, images: _outputs_of(net, images, fixed),
                customized_pruners=PRUNERS,
                verbose=False,  # it warns of parameters of its own that a block has, and prunes them rightly
            )
        map_halves(graph)
        return graph
    except (IndexError, KeyError, RuntimeError, ZeroDivisionError, AttributeError) as exc:
        raise ModelError(f"the network cannot be traced for pruning: {type(exc).__name__}: {exc}") from exc


def _outputs_of(model: nn.Module, images: torch.Tensor, fixed: Sequence[nn.Module]) -> Any:
    caught: list[torch.Tensor] = []
    ends = [module for module in fixed if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [end.register_forward_hook(lambda _module, _args, out: caught.append(out)) for end in ends]
    try:
        with training_branches(model):
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
    for found in graph.get_all_groups(ignored_layers=whole, root_module_types=[nn.Conv2d]):
        if any(_stands_in(item.dep.target.module, names) for item in found):
            continue
        # torch-pruning may list a depthwise convolution before the producer whose channels it takes over.
        root = _producer(found)
        if root is None or any(_in_blocks(item.dep.target.module) for item in found):
            continue
        coupled = found
        if found[0].dep.target.module is not root:
            channels = list(range(root.out_channels))
            coupled = graph.get_pruning_group(root, tp.prune_conv_out_channels, channels)
        ties = _ties(coupled, root.out_channels)
        if ties is not None:
            groups.append(Group(names[root], root, coupled, root.out_channels // ties, names, ties))
    return groups


def _ties(coupled: Any, width: int) -> int | None:
    """Return how many outputs of its root have to go together; None where no cut would fit the group."""
    if any(len(set(item.idxs)) < len(item.idxs) for item in coupled):
        return None  # a channel that goes with two of the root's
    ties = 1
    for item in coupled:
        half = item.dep.target.module
        if isinstance(half, Half):
            ties = 2
            whole = [(one, one + half.start) for one in range(half.width)]
            if width != 2 * half.width or sorted(zip(item.idxs, item.root_idxs, strict=True)) != whole:
                return None  # the halves are those of several layers' channels together
    return ties


def _stands_in(module: nn.Module, names: Mapping[nn.Module, str]) -> bool:
    """Whether a convolution is none of the network's: it stood in for a block while the graph was traced."""
    return isinstance(module, nn.Conv2d) and module not in names


def _in_blocks(module: nn.Module) -> bool:
    """Whether a convolution has groups of several channels: none could lose a channel without the others."""
    return isinstance(module, nn.Conv2d) and not (
        module.groups == 1 or module.groups == module.in_channels == module.out_channels
    )


def _producer(coupled: Any) -> nn.Conv2d | None:
    """Return the layer by whose outputs a group is numbered, if it has one.

    That is the first that produces the channels and is no depthwise convolution. Where one is narrower than
    the others, it is that: each of its channels goes with several of theirs (GhostBottleneck).
    """
    producers = [
        item.dep.target.module
        for item in coupled
        if item.dep.handler.__name__ == "prune_out_channels"
        and isinstance(item.dep.target.module, nn.Conv2d)
        and item.dep.target.module.groups == 1
    ]
    return min(producers, key=lambda conv: conv.out_channels, default=None)


def kept_whole(model: nn.Module, fixed: Sequence[nn.Module], skip: Iterable[str] = ()) -> set[nn.Module]:
    """Return all modules of a network whose own channels must stay; see `find_groups`."""
    patterns = tuple(skip)
    skipped = [
        module for name, module in model.named_modules() if any(fnmatchcase(name, p) for p in patterns)
    ]
    whole = [model.get_submodule(name) for name in whole_blocks(model)]
    return {inner for owner in (*fixed, *skipped, *whole) for inner in owner.modules()}


def remove(graph: tp.DependencyGraph, group: Group, channels: Sequence[int]) -> None:
    """Remove channels of a group from every layer that shares them, in place."""
    doomed = graph.get_pruning_group(group.root, tp.prune_conv_out_channels, idxs=group.outputs(channels))
    for item in doomed:
        if isinstance(norm := item.dep.target.module, nn.BatchNorm2d):
            cut_notes(norm, item.idxs)
    doomed.prune()


def count_macs(model: nn.Module, example: torch.Tensor) -> tuple[int, int]:
    """Return multiply-accumulates for one `example` input, and the number of parameters."""
    with redirect_stdout(io.StringIO()):  # it warns of every activation that several layers share
        macs, parameters = tp.utils.count_ops_and_params(model, example)
    return int(macs), int(parameters)
