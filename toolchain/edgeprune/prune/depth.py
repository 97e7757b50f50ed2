"""Depth: residual blocks dropped whole, their consumers' weights folded so that nothing else changes.

A residual block computes x + f(x). Without f it is the identity, and an identity needs no layer. In a
sequence the block is taken out. In a CSP block (C2f, C3k2) the last convolution reads every inner block's
output: two equal slices become one by adding their weight columns. The network after `drop_block` computes
exactly what the one before computes with f zeroed. Blocks without a shortcut cannot be folded.

A network that is no YOLO names its blocks by a class of theirs, `models/droppable.py`: an identity takes
their place, so that the others keep their names.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from ultralytics.nn.modules.block import C3, Bottleneck, PSABlock

from edgeprune.core.errors import ModelError
from edgeprune.models.blocks import SplitC2f, passes_on
from edgeprune.models.droppable import Droppable

Measure = Callable[[nn.Module], float]
"""A network in, one number out: its accuracy, or its latency in milliseconds on the target."""


@dataclass(frozen=True)
class RankedBlock:
    """What dropping one block costs and gains, both measured.

    Attributes:
        drop: accuracy lost before any training; negative when the network got better.
        gained_ms: latency gained on the target, in milliseconds; not above 0 when it got no faster.
    """

    name: str
    drop: float
    gained_ms: float

    @property
    def cost(self) -> float:
        """Accuracy lost per millisecond gained; infinite when nothing is gained."""
        if self.gained_ms <= 0:
            return math.inf
        # Where accuracy rises, a block is the cheaper the more it gains: the quotient would rank wrongly.
        return self.drop / self.gained_ms if self.drop > 0 else self.drop * self.gained_ms


def removable_blocks(model: nn.Module) -> list[str]:
    """Name the blocks that can be dropped, in order; CSP blocks have to be split."""
    modules = dict(model.named_modules())
    return [
        name
        for name, module in modules.items()
        if (isinstance(module, Droppable) and module.keeps_shape)
        or (isinstance(module, Bottleneck | PSABlock) and module.add and _can_go(modules, name))
    ]


def drop_block(model: nn.Module, name: str) -> nn.Module:
    """Return a copy of a network without one block; of a residual one it computes what zeroing f does.

    The blocks behind it in the same sequence move up by one, and so do their names; none where an identity
    stands in for it.

    Raises:
        ModelError: `name` is no block that `removable_blocks` lists.
    """
    if name not in removable_blocks(model):
        raise ModelError(f"{name}: not a block that can be dropped; see removable_blocks")
    twin = copy.deepcopy(model)
    before = folded_slices(model)
    for reader, inner in folded_slices(model, {name}).items():
        for place in set(inner) - set(before.get(reader, ())):
            csp, _, number = place.rpartition(".m.")
            _fold(cast(SplitC2f, twin.get_submodule(csp)), int(number))
    twin.set_submodule(name, nn.Identity())
    return twin


def drop_blocks(model: nn.Module, names: Iterable[str]) -> nn.Module:
    """Return a copy of a network without several blocks, all named as in the network given."""
    wanted, known = set(names), removable_blocks(model)
    # From the back, so that no block moves up before its turn.
    for name in [*(wanted - set(known)), *(name for name in reversed(known) if name in wanted)]:
        model = drop_block(model, name)
    return model


def folded_slices(model: nn.Module, dropped: Collection[str] = ()) -> dict[str, list[str]]:
    """Return what CSP blocks no longer join: convolution that read it -> inner blocks without a slice there.

    Args:
        dropped: blocks that are to go, beside those that are identities already.
    """
    return {
        f"{name}.cv2.conv": gone
        for name, block in model.named_modules()
        if isinstance(block, SplitC2f)
        and (
            gone := [
                place
                for number, inner in enumerate(block.m)
                if passes_on(inner, place := f"{name}.m.{number}", dropped)
            ]
        )
    }


def blocks_gone(before: nn.Module, after: nn.Module) -> tuple[str, ...]:
    """Name the blocks of a network that one that was cut from it no longer has."""
    known = dict(before.named_modules())
    return tuple(
        name
        for name, module in after.named_modules()
        if isinstance(module, nn.Identity) and name in known and not isinstance(known[name], nn.Identity)
    )


def rank_blocks(
    model: nn.Module, names: Sequence[str], accuracy: Measure, latency: Measure
) -> list[RankedBlock]:
    """Rank blocks by the accuracy that dropping each costs per millisecond it gains, cheapest first.

    Args:
        accuracy: of a network, higher is better; called for the whole network and once a block.
        latency: of a network in milliseconds, measured on the target in the precision that ships.
    """
    whole = accuracy(model), latency(model)
    ranked = []
    for name in names:
        without = drop_block(model, name)
        ranked.append(RankedBlock(name, whole[0] - accuracy(without), whole[1] - latency(without)))
    return sorted(ranked, key=lambda block: (block.cost, block.drop))


def _can_go(modules: Mapping[str, nn.Module], name: str) -> bool:
    """Tell whether an identity in a block's place can be taken out or folded away."""
    if hasattr(modules[name], "f"):  # a layer of ultralytics' numbered list, not of a sequence
        return False
    sequence, owner = _holders(modules, name)
    return isinstance(sequence, nn.Sequential) or isinstance(owner, SplitC2f)


def _holders(modules: Mapping[str, nn.Module], name: str) -> tuple[nn.Module, nn.Module]:
    """Return the sequence or list that a block stands in, and what that belongs to."""
    place = name.rpartition(".")[0]
    return modules[place], modules[place.rpartition(".")[0]]


def _fold(block: SplitC2f, number: int) -> None:
    """Add the weight columns that read inner block `number` to those that read what goes into it."""
    conv = cast(nn.Conv2d, cast(Any, block.cv2).conv)
    parts = [block.cv0, block.cv1, *(inner for inner in block.m[:number] if not passes_on(inner))]
    start, width = sum(_width(part) for part in parts), _width(block.m[number])
    weight = conv.weight.detach().clone()
    weight[:, start - width : start] += weight[:, start : start + width]
    conv.weight = nn.Parameter(torch.cat((weight[:, :start], weight[:, start + width :]), 1))
    conv.in_channels = conv.weight.shape[1]


def _width(module: Any) -> int:
    """Return the output channels of a module that ends in a convolution."""
    match module:
        case nn.Conv2d():
            return module.out_channels
        case nn.Sequential():
            return _width(next(part for part in reversed(module) if not passes_on(part)))
        case Bottleneck():
            return _width(module.cv2)
        case C3():
            return _width(module.cv3)
        case PSABlock():
            return _width(module.ffn)
        case _:
            return _width(module.conv)
