"""Swapped activations eased in: a training starts from SiLU and ends with what takes its place."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

EASED = 0.6
"""Share of a training after which swapped activations stand alone."""


class Eased(nn.Module):
    """An activation between SiLU and the one that takes its place.

    Attributes:
        becomes: the new activation.
        share: of the new activation in the output, in [0, 1].
    """

    def __init__(self, becomes: nn.Module) -> None:
        super().__init__()
        self.becomes = becomes
        self.share = 0.0

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the mix of both activations, of the shape and dtype of the input."""
        if self.share == 0:
            return nn.functional.silu(features)
        after: torch.Tensor = self.becomes(features)
        return after if self.share == 1 else torch.lerp(nn.functional.silu(features), after, self.share)


def ease(model: nn.Module) -> bool:
    """Make swapped activations that no training has seen start from SiLU, in place; tell if there are any."""
    fresh = [name for name, module in model.named_modules() if getattr(module, "untrained", False)]
    for name in fresh:
        model.set_submodule(name, Eased(model.get_submodule(name)))
    return bool(fresh)


def set_share(model: nn.Module, share: float) -> None:
    """Set the share that the new activations have in a network under `ease`."""
    for module in model.modules():
        if isinstance(module, Eased):
            module.share = share


def settle(model: nn.Module, trained: bool = True) -> None:
    """Leave the new activations alone in an eased network, in place.

    Args:
        trained: whether the weights know them by now; if not, the next training eases them in.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, Eased):
            activation: Any = module.becomes
            activation.untrained = not trained
            model.set_submodule(name, activation)
