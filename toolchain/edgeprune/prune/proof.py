"""Proof that a cut is exact: the network computes what it did when nothing reads the channels that went.

Needed for networks whose blocks are judged by their operations (`following`), not listed by name: what they
compute is known to nobody before. One copy is cut, in another the weights that read those channels are zero.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
import torch_pruning as tp
from torch import nn

from edgeprune.core.errors import ModelError
from edgeprune.models.following import MARK
from edgeprune.models.outputs import tensors_in
from edgeprune.prune.groups import Group, find_groups, remove, trace

LIMIT = 1e-6
"""Largest difference of an output, in float64, relative to its largest value."""
_READERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)

Fixed = Callable[[nn.Module], Sequence[nn.Module]]


def mask(graph: tp.DependencyGraph, group: Group, channels: Sequence[int]) -> int:
    """Zero the weights that read channels of a group, in place, and count the layers that do."""
    doomed = graph.get_pruning_group(group.root, tp.prune_conv_out_channels, group.outputs(channels))
    readers = [item for item in doomed if isinstance(item.dep.target.module, _READERS)
               and item.dep.handler.__name__ == "prune_in_channels"]  # fmt: skip
    for item in readers:
        layer = item.dep.target.module
        weight = layer.weight.data
        (weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight)[:, item.idxs] = 0
    return len(readers)


def find_inexact(
    model: nn.Module,
    fixed: Fixed,
    example: torch.Tensor,
    skip: Sequence[str],
    doomed: Mapping[str, Sequence[int]],
) -> list[str]:
    """Name the groups whose cut alone changes what a network computes; none where the whole cut is exact.

    Only networks with blocks that are followed by their operations are looked at.

    Args:
        doomed: channels to remove, by group.

    Raises:
        ModelError: cuts that are exact alone are not so together.
    """
    if not any(MARK in vars(module) for module in model.modules()) or not doomed:
        return []
    if difference(model, fixed, example, skip, doomed) <= LIMIT:
        return []
    alone = {name: difference(model, fixed, example, skip, {name: doomed[name]}) for name in doomed}
    if not (found := [name for name, off in alone.items() if not off <= LIMIT]):
        raise ModelError("the cut changes what the network computes; prune fewer layers with prune.skip")
    return found


def require_exact(
    model: nn.Module,
    fixed: Fixed,
    example: torch.Tensor,
    skip: Sequence[str],
    doomed: Mapping[str, Sequence[int]],
) -> None:
    """Prove a cut; see `find_inexact`.

    Raises:
        ModelError: the cut of a group changes what the network computes; all such groups are named.
    """
    if found := find_inexact(model, fixed, example, skip, doomed):
        raise ModelError(
            f"{', '.join(found)}: the network computes something else after the cut of channels there; leave "
            f"that whole by --set 'prune.skip=[{', '.join([*skip, *found])}]'"
        )


def difference(
    model: nn.Module,
    fixed: Fixed,
    example: torch.Tensor,
    skip: Sequence[str],
    doomed: Mapping[str, Sequence[int]],
) -> float:
    """Return the largest difference between the outputs of a network that is cut and one that is masked.

    Returns:
        Over all outputs, relative to the largest value of each, in float64.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(example.shape, dtype=torch.float64, generator=generator)
    outputs = []
    for change in (_cut, mask):
        twin = copy.deepcopy(model)
        kept = fixed(twin)
        graph = trace(twin.double(), images, kept)
        for group in find_groups(graph, twin, kept, skip):
            if group.name in doomed:
                change(graph, group, doomed[group.name])
        with torch.no_grad():
            outputs.append(tensors_in(twin.eval()(images)))
    pairs = zip(*outputs, strict=True)
    return max(float((one - other).abs().max() / other.abs().max().clamp_min(1e-12)) for one, other in pairs)


def _cut(graph: tp.DependencyGraph, group: Group, channels: Sequence[int]) -> int:
    remove(graph, group, channels)
    return len(channels)
