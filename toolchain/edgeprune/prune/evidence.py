"""What data say about a network's channels, gathered once, before a criterion scores them.

Gradients take a pass forwards and backwards for every image; scoring and cutting at many ratios reuse them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from edgeprune.core.errors import ConfigError

Need = Literal["gradients", "squared_gradients", "factors", "activity"]
"""A field of `Evidence` that takes data to fill."""

Loss = Callable[[nn.Module, Any], torch.Tensor]
"""Network and batch -> the training loss, a scalar."""

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Evidence:
    """What a criterion may look at besides the weights. What was not gathered is empty.

    Attributes:
        seed: of the `random` criterion.
        combine: shares of the weights' and the gradient's norm in the `combined` criterion.
        gradients: mean gradient of the loss, by parameter name, shaped as the parameter.
        squared_gradients: mean of the samples' squared gradients, by parameter name, shaped as the parameter.
        factors: for each output channel of a convolution, by its name, (2, out_channels): the energy of its
            output (sum of squares over the positions) and the mean square of the loss's gradient there.
        activity: for each input channel of a convolution or linear layer, by its name, (in_channels,): share
            of its values above 0.
    """

    seed: int = 0
    combine: tuple[float, float] = (0.7, 0.3)
    gradients: Mapping[str, torch.Tensor] = field(default_factory=dict)
    squared_gradients: Mapping[str, torch.Tensor] = field(default_factory=dict)
    factors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    activity: Mapping[str, torch.Tensor] = field(default_factory=dict)


def gather(model: nn.Module, need: Need, batches: Iterable[Any], loss: Loss) -> Tensors:
    """Return one field of `Evidence`; the network runs in eval mode and is left as it is.

    Args:
        batches: what `loss` takes; a batch counts as one sample, so each should hold one image.

    Raises:
        ConfigError: there are no batches.
    """
    total: Tensors = {}
    count = 0
    was_training = model.training
    model.eval()
    try:
        for batch in batches:
            count += 1
            for name, value in _OBSERVE[need](model, batch, loss).items():
                total[name] = total[name] + value if name in total else value
    finally:
        model.train(was_training)
    if not count:
        raise ConfigError(
            f"prune.criterion: it needs {need.replace('_', ' ')}, and there are no images to gather"
        )
    return {name: value / count for name, value in total.items()}


def _gradients(model: nn.Module, batch: Any, loss: Loss) -> Tensors:
    named = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    found = torch.autograd.grad(loss(model, batch), list(named.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(named, found, strict=True) if gradient is not None}


def _squared_gradients(model: nn.Module, batch: Any, loss: Loss) -> Tensors:
    return {name: gradient.square() for name, gradient in _gradients(model, batch, loss).items()}


def _factors(model: nn.Module, batch: Any, loss: Loss) -> Tensors:
    energy: Tensors = {}
    sensitivity: Tensors = {}

    def watch(name: str, module: nn.Conv2d, _images: torch.Tensor, output: torch.Tensor) -> None:
        signal = output.detach()
        if module.bias is not None:
            signal = signal - module.bias.detach()[:, None, None]
        energy[name] = signal.square().sum((2, 3)).mean(0)
        # A hook on the tensor sees the gradient at the output even when an activation overwrites it in place.
        output.register_hook(
            lambda gradient: sensitivity.__setitem__(name, gradient.square().mean((0, 2, 3)))
        )

    with _watched(model, watch, nn.Conv2d):
        _gradients(model, batch, loss)
    return {name: torch.stack([energy[name], sensitivity[name]]) for name in sensitivity}


@torch.no_grad()
def _activity(model: nn.Module, batch: Any, loss: Loss) -> Tensors:
    shares: Tensors = {}

    def watch(name: str, _module: nn.Module, inputs: torch.Tensor, _output: torch.Tensor) -> None:
        shares[name] = (inputs > 0).float().transpose(0, 1).flatten(1).mean(1)

    with _watched(model, watch, nn.Conv2d, nn.Linear):
        loss(model, batch)
    return shares


_OBSERVE: dict[Need, Callable[[nn.Module, Any, Loss], Tensors]] = {
    "gradients": _gradients,
    "squared_gradients": _squared_gradients,
    "factors": _factors,
    "activity": _activity,
}


@contextmanager
def _watched(
    model: nn.Module,
    watch: Callable[[str, Any, torch.Tensor, torch.Tensor], None],
    *kinds: type[nn.Module],
) -> Iterator[None]:
    """Call `watch` with name, module, input and output of every layer of these kinds that runs."""
    handles = [
        module.register_forward_hook(
            lambda layer, args, output, name=name: watch(name, layer, args[0], output)
        )
        for name, module in model.named_modules()
        if isinstance(module, kinds)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
