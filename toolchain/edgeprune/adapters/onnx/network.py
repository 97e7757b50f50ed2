"""A network as plain data, and the torch module that it is: layers, and operators between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from edgeprune.adapters.onnx.functions import FUNCTIONS, Settings
from edgeprune.core.errors import ModelError

LAYERS: dict[str, Callable[..., nn.Module]] = {
    "BatchNorm2d": nn.BatchNorm2d,
    "Conv1d": nn.Conv1d,
    "Conv2d": nn.Conv2d,
    "ConvTranspose2d": nn.ConvTranspose2d,
    "ELU": nn.ELU,
    "GELU": nn.GELU,
    "GlobalAveragePool": lambda: nn.AdaptiveAvgPool2d(1),
    "GlobalMaxPool": lambda: nn.AdaptiveMaxPool2d(1),
    "Hardsigmoid": nn.Hardsigmoid,
    "Hardswish": nn.Hardswish,
    "LeakyReLU": nn.LeakyReLU,
    "Linear": nn.Linear,
    "Mish": nn.Mish,
    "PReLU": nn.PReLU,
    "ReLU": nn.ReLU,
    "ReLU6": nn.ReLU6,
    "SELU": nn.SELU,
    "SiLU": nn.SiLU,
    "Sigmoid": nn.Sigmoid,
    "Softplus": nn.Softplus,
    "Tanh": nn.Tanh,
}
"""Layers of torch that a network may have, with the names of their arguments as settings."""


WEIGHTED = frozenset({"Conv1d", "Conv2d", "ConvTranspose2d", "Linear"})
"""Layers that mix channels."""
DECODE = "/decode/"
"""How the names of those nodes begin that follow the last layers."""


class Step(BaseModel):
    """One layer or operator.

    Attributes:
        name: dotted name of its module.
        kind: a key of `LAYERS` or `FUNCTIONS`, or ``Constant``.
        settings: of a layer its arguments; of a constant its shape and type.
        inputs, outputs: names of values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: str
    settings: dict[str, Any] = {}
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...]


class Plan(BaseModel):
    """A network without its weights: what it does, in order.

    Attributes:
        input: name of the one value that goes in, float32 (n, 3, H, W).
        outputs: names of the values that come out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: str
    outputs: tuple[str, ...]
    steps: tuple[Step, ...]


class Operator(nn.Module):
    """An operator without weights: a block of its own, which pruning follows or leaves whole."""

    def __init__(self, kind: str, settings: Settings) -> None:
        super().__init__()
        self.kind = kind
        self.settings = dict(settings)

    def forward(self, *given: torch.Tensor) -> Any:
        """Map the inputs to the output, or to the list of several."""
        return FUNCTIONS[self.kind](given, self.settings)


class Constant(nn.Module):
    """A tensor that goes into operators and is no layer's weight, such as the anchors of a decode."""

    value: torch.Tensor

    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self) -> torch.Tensor:
        """Return it."""
        return self.value


class Scope(nn.Module):
    """A part of a layer's dotted name, as the framework that wrote the file had it."""


class Network(nn.Module):
    """The network of an ONNX file.

    Attributes:
        plan: what it does.
        told: what is known of it beside, JSON-like.
    """

    def __init__(self, plan: Plan, told: Mapping[str, Any]) -> None:
        super().__init__()
        self.plan = plan
        self.told = dict(told)
        self._last = _last_uses(plan)
        for step in plan.steps:
            put(self, step.name, made(step))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Map images (n, 3, H, W) to the outputs."""
        return self.run(images, self.get_submodule)

    def run(self, images: torch.Tensor, module_of: Callable[[str], nn.Module]) -> list[torch.Tensor]:
        """Run the steps on images (n, 3, H, W) with the modules that are asked for by their dotted names."""
        values = {self.plan.input: images}
        for step, done in zip(self.plan.steps, self._last, strict=True):
            module = module_of(step.name)
            found = module(*(values[name] for name in step.inputs))
            several = found if isinstance(found, list) else [found]
            values.update(zip(step.outputs, several, strict=False))
            for name in done:
                values.pop(name, None)
        return [values[name] for name in self.plan.outputs]


class Flat(nn.Module):
    """A network whose modules lie side by side, so that an exported node tells its layer's whole name.

    PyTorch's exporter names a node by the modules that are called on the way to it: ``layer1.0.conv1``
    becomes ``/layer1/0/conv1/Conv``. What follows the last layers begins with `DECODE`.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._run = network.run
        late = decode_of(network.plan)
        self._names = {
            step.name: ("decode/" if step.name in late else "") + step.name.replace(".", "/")
            for step in network.plan.steps
        }
        for name, own in self._names.items():
            self.add_module(own, network.get_submodule(name))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Map images (n, 3, H, W) to the outputs."""
        return self._run(images, lambda name: self._module(self._names[name]))

    def _module(self, name: str) -> nn.Module:
        found = self._modules[name]
        assert found is not None
        return found


def decode_of(plan: Plan) -> set[str]:
    """Name the steps that the outputs come from with no layer that mixes channels after them."""
    waiting, late = set(plan.outputs), set()
    for step in reversed(plan.steps):
        if waiting.intersection(step.outputs) and step.kind not in WEIGHTED:
            late.add(step.name)
            waiting.update(step.inputs)
    return late


def ends_normed(plan: Plan) -> bool:
    """Tell whether a network ends by dividing its output by a norm, as one that describes faces does."""
    kinds = [step.kind for step in plan.steps if step.name in decode_of(plan)]
    return "LpNormalization" in kinds or ("ReduceL2" in kinds and "Div" in kinds)


def made(step: Step) -> nn.Module:
    """Return the module of a step, its weights not yet the network's.

    Raises:
        ModelError: there is no such layer or operator, or it takes no such settings.
    """
    if step.kind == "Constant":
        return Constant(torch.zeros(step.settings["shape"], dtype=getattr(torch, step.settings["dtype"])))
    if step.kind in FUNCTIONS:
        return Operator(step.kind, step.settings)
    try:
        return LAYERS[step.kind](**step.settings)
    except (KeyError, TypeError, ValueError, RuntimeError) as exc:
        raise ModelError(f"{step.name}: no layer {step.kind} can be made of what is told of it") from exc


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module at a dotted name, with scopes on the way to it."""
    *above, last = name.split(".")
    for part in above:
        if part not in model._modules:
            model.add_module(part, Scope())
        model = model.get_submodule(part)
    model.add_module(last, module)


def _last_uses(plan: Plan) -> Sequence[Sequence[str]]:
    """Return for each step the values that nothing reads after it."""
    last: dict[str, int] = {}
    for index, step in enumerate(plan.steps):
        last |= dict.fromkeys((*step.inputs, *step.outputs), index)
    done: list[list[str]] = [[] for _ in plan.steps]
    for name, index in last.items():
        if name not in plan.outputs:
            done[index].append(name)
    return done
