"""Our own network from a checkpoint's records: known classes only, of each the known fields, checked.

Modules are made without the constructors of ultralytics, which evaluate text; layers of torch by torch's own.
First the network is made without numbers and run once on shapes alone, so that a checkpoint whose layers do
not fit, or whose feature maps would fill the memory, is refused before its numbers are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, cast

import torch
from torch import nn
from ultralytics.nn.modules import OBB, Classify, Detect, Pose, RepConv, Segment
from ultralytics.nn.modules.block import RepVGGDW
from ultralytics.nn.modules.conv import Conv, ConvTranspose

from edgeprune.models.anchor_loss import BALANCE
from edgeprune.models.anchors import AnchorDetect
from edgeprune.models.checkpoint.container import Content
from edgeprune.models.checkpoint.fields import DERIVED_TENSORS, KNOWN, NETWORKS, OWN_TENSORS, few
from edgeprune.models.checkpoint.layers import MAKERS, PREFIX, UnfitError, make_layer, shapes_of
from edgeprune.models.checkpoint.pickled import Instance, RefusedError
from edgeprune.models.checkpoint.record import NetworkRecord
from edgeprune.models.checkpoint.tensors import Tensor, read_tensor

MOST_MODULES, MOST_DEPTH = 20_000, 32
MOST_FEATURES = 2**27
"""Numbers of one feature map at 256 px; a yolov8x has 1.3 million."""
SIDE = 256
"""Of the image that shapes are tried with; ultralytics measures strides with it too."""
_SPARE = 2**20
MOST_ANCHORS = 16


@dataclass
class Draft:
    """A network whose parameters have no numbers yet.

    Attributes:
        tensors: which record in the file each parameter or buffer is to get.
    """

    network: Any
    tensors: list[tuple[nn.Module, str, Tensor]]


def draft(record: Instance, told: NetworkRecord) -> Draft:
    """Make the network of a checkpoint on the meta device.

    Raises:
        UnfitError: its layers are not those of a network.
    """
    if record.cls not in NETWORKS:
        raise UnfitError(f"it holds {record.cls}, not a whole network")
    builder = _Builder()
    network: Any = _empty(record.cls)
    layers = _dict(record, "_modules").get("model")
    if not isinstance(layers, Instance) or layers.cls != f"{PREFIX}container.Sequential":
        raise UnfitError("the list of its layers is missing")
    network.model = builder.build(layers, "model", 1)
    if not len(network.model):
        raise UnfitError("it has no layers")
    _number_layers(network, _dict(layers, "_modules"))
    _compare_classes(network.model[-1], len(told.names))
    network.inplace = True
    network.names = dict(enumerate(told.names))
    network.yaml = told.config.model_dump(exclude_none=True)
    network.args = told.args.model_dump(exclude_none=True)
    network.task = NETWORKS[record.cls]
    if told.gains is not None:
        network.hyp = told.gains.model_dump()
    if isinstance(network.model[-1], Pose):
        network.kpt_shape = network.model[-1].kpt_shape  # ultralytics' own predictor reads it here
    return Draft(network.eval(), builder.tensors)


def fill(made: Draft, content: Content) -> Any:
    """Read the numbers of a network from its file, and return it.

    Raises:
        RefusedError: they are more than the file holds.
        DamagedError: they are cut off.
    """
    left = 2 * content.size + _SPARE
    for module, name, record in made.tensors:
        left -= record.nbytes
        if left < 0:
            raise RefusedError("holds more parameters than its size allows")
        value = read_tensor(record, content.numbers)
        if name in module._parameters:
            module._parameters[name] = nn.Parameter(value, requires_grad=value.is_floating_point())
        else:
            module._buffers[name] = value
    return made.network


def try_shapes(network: Any) -> tuple[float, ...]:
    """Run a network without numbers on the shape of an image.

    Returns:
        The stride of each level of a detector's head in pixels; () for a classifier.

    Raises:
        UnfitError: its layers do not fit together, or a feature map is larger than any network's.
    """
    head = network.model[-1]
    for layer in network.model.modules():
        layer.register_forward_hook(_watch)
    if isinstance(head, Detect):
        head.training = True  # then it gives its feature maps
    image = torch.zeros(1, input_channels(network), SIDE, SIDE, device="meta")
    try:
        with torch.no_grad():
            output = network(image)
            features = (
                output.get("one2many") or output.get("one2one") or output if isinstance(output, dict) else {}
            )
            return tuple(SIDE / level.shape[-2] for level in features.get("feats", ()))
    except UnfitError:
        raise
    except Exception as exc:  # a layer of any class, on shapes that nobody foresaw
        raise UnfitError(
            f"its layers do not fit together ({(str(exc).splitlines() or [''])[0][:120]})"
        ) from exc
    finally:
        head.training = False
        for layer in network.model.modules():
            layer._forward_hooks.clear()


def input_channels(network: nn.Module) -> int:
    """Return how many channels an image has for a network: those that its first convolution reads."""
    return next((part.in_channels for part in network.modules() if isinstance(part, nn.Conv2d)), 3)


def _watch(module: nn.Module, _: Any, output: Any) -> None:
    for value in output if isinstance(output, (list, tuple)) else [output]:
        if isinstance(value, torch.Tensor) and value.numel() > MOST_FEATURES:
            raise UnfitError(f"a {type(module).__name__} makes a feature map of {value.numel()} numbers")


@dataclass
class _Builder:
    """Builds the modules of one network, each record once."""

    tensors: list[tuple[nn.Module, str, Tensor]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    activations: dict[int, nn.Module] = field(default_factory=dict)

    def build(self, record: Any, where: str, depth: int) -> nn.Module:
        if not isinstance(record, Instance) or record.cls in NETWORKS:
            raise UnfitError(f"{where} is no layer")
        if id(record) in self.activations:
            return self.activations[id(record)]  # ultralytics hands one activation to every layer
        if id(record) in self.seen:
            raise UnfitError(f"{where} stands in two places")
        self.seen.add(id(record))
        if depth > MOST_DEPTH or len(self.seen) > MOST_MODULES:
            raise UnfitError("it has more layers than any network")
        try:
            module = self._module(record, where, depth)
        except UnfitError as exc:
            raise exc if str(exc).startswith(where) else UnfitError(f"{where}: {exc}") from exc
        module.training = False
        return module

    def _module(self, record: Instance, where: str, depth: int) -> nn.Module:
        children = _dict(record, "_modules")
        if record.cls.startswith(PREFIX) and record.cls.rpartition(".")[2] in MAKERS:
            tensors = _tensors(record)
            if children:
                raise UnfitError("a layer of torch holds further ones")
            layer = make_layer(record, shapes_of(tensors))
            self._note(layer, tensors)
            if not tensors:
                self.activations[id(record)] = layer
            return layer
        module = _empty(record.cls)
        for name, check in KNOWN[record.cls].items():
            if name in record.state:
                if not check(value := record.state[name]):
                    raise UnfitError(f"{name} has a value that it cannot have")
                vars(module)[name] = list(value) if isinstance(value, (list, tuple)) else value
        for name, child in children.items():
            if not isinstance(name, str) or not (name.isidentifier() or name.isdecimal()):
                raise UnfitError("a layer has no proper name")
            if hasattr(type(module), name):
                raise UnfitError(f"{name} would take the place of a method")
            built = None if child is None else self.build(child, f"{where}.{name}", depth + 1)
            module._modules[name] = built
        self._note(module, _give_own(module, record))
        _settle(module)
        return module

    def _note(self, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            whole = name == "num_batches_tracked"
            if tensor.dtype.is_floating_point == whole:
                raise UnfitError(f"{name} holds {tensor.dtype}".replace("torch.", ""))
            self.tensors.append((module, name, tensor))


def _empty(name: str) -> nn.Module:
    """Make a module of a known class without its constructor."""
    place, _, cls = name.rpartition(".")
    kind = getattr(import_module(place), cls)
    module = cast(nn.Module, kind.__new__(kind))
    nn.Module.__init__(module)
    return module


def _give_own(module: nn.Module, record: Instance) -> dict[str, Tensor]:
    """Give a module the tensors that it holds itself, without numbers, and return their records."""
    derived = DERIVED_TENSORS.get(record.cls, ())
    tensors = {name: tensor for name, tensor in _tensors(record).items() if name not in derived}
    for name, tensor in tensors.items():
        if name not in OWN_TENSORS.get(record.cls, ()):
            raise UnfitError(f"{name[:40]} is no parameter of it")
        empty = torch.empty(tensor.shape, device="meta")
        if name in _dict(record, "_buffers"):
            module._buffers[name] = empty
        else:
            module.register_parameter(name, nn.Parameter(empty))
    return tensors


def _dict(record: Instance, name: str) -> dict[Any, Any]:
    value = record.state.get(name)
    if type(value) is not dict:
        raise UnfitError(f"its {name} are missing")
    return value


def _tensors(record: Instance) -> dict[str, Tensor]:
    found = {
        name: value
        for place in ("_parameters", "_buffers")
        for name, value in _dict(record, place).items()
        if value is not None
    }
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UnfitError("a parameter is no tensor")
    return found


def _number_layers(network: Any, records: Mapping[Any, Any]) -> None:
    """Give each layer its number and its inputs, by which ultralytics runs them, and list what to keep."""
    saved: set[int] = set()
    for index, (layer, record) in enumerate(zip(network.model, records.values(), strict=True)):
        inputs = record.state.get("f", -1)
        places = inputs if isinstance(inputs, list) else [inputs]
        if not places or len(places) > 32:
            raise UnfitError(f"layer {index} has no list of inputs")
        for place in places:
            if type(place) is not int or not -max(index, 1) <= place < max(index, 1):
                raise UnfitError(f"layer {index} takes its input from a layer that is not before it")
        if layer.__dict__.get("f") is not None:
            raise UnfitError(f"layer {index} stands in two places")
        layer.i, layer.f, layer.type = index, inputs, f"{type(layer).__module__}.{type(layer).__qualname__}"
        layer.np = sum(parameter.numel() for parameter in layer.parameters())
        saved |= {place % index for place in places if place != -1 and index}
    network.save = sorted(saved)


def _compare_classes(head: Any, names: int) -> None:
    count = (
        head.nc
        if isinstance(head, Detect)
        else head.linear.out_features
        if isinstance(head, Classify)
        else names
    )
    if count != names:
        raise UnfitError(f"it has {names} class names, and its head computes {count} classes")


def _settle(module: nn.Module) -> None:
    """Derive what a class keeps twice, and choose the form that its `fuse` has left."""
    part = cast(Any, module)
    if isinstance(module, (Conv, ConvTranspose)) and not hasattr(module, "bn"):
        part.forward = part.forward_fuse
    elif isinstance(module, RepConv):
        inner = part.conv1.conv if hasattr(module, "conv1") else part.conv
        part.g, part.c1, part.c2 = inner.groups, inner.in_channels, inner.out_channels
        if not hasattr(module, "conv1"):
            part.forward = part.forward_fuse
    elif isinstance(module, RepVGGDW):
        inner = part.conv1.conv if hasattr(module, "conv1") else part.conv
        part.dim = inner.out_channels
        if not hasattr(module, "conv1"):
            part.forward = part.forward_fuse
    elif isinstance(module, AnchorDetect):
        _settle_anchors(module)
    elif isinstance(module, Detect):
        _settle_head(part)


def _settle_anchors(head: AnchorDetect) -> None:
    shape = tuple(head.anchors.shape) if "anchors" in head._buffers else ()
    if len(shape) != 3 or shape[0] not in BALANCE or not 0 < shape[1] <= MOST_ANCHORS or shape[2] != 2:
        raise UnfitError(f"its anchors have shape {list(shape)}")
    head.settle()
    outputs = [getattr(level, "out_channels", None) for level in getattr(head, "m", ())]
    if outputs != [head.na * head.no] * head.nl:
        raise UnfitError(f"the head says {head.nc} classes and its convolutions give {outputs} channels")
    head.stride = torch.zeros(head.nl)


def _settle_head(head: Any) -> None:
    branches = [
        (boxes, scores)
        for prefix in ("", "one2one_")
        if (boxes := getattr(head, f"{prefix}cv2", None)) is not None
        and (scores := getattr(head, f"{prefix}cv3", None)) is not None
    ]
    if not branches or not all(few(len(part)) and len(part) for part in branches[0]):
        raise UnfitError("the head has no levels")
    head.nl, head.no = len(branches[0][0]), head.nc + 4 * head.reg_max
    for boxes, scores in branches:
        if len(boxes) != head.nl or len(scores) != head.nl:
            raise UnfitError("the head's branches have different numbers of levels")
        if any(level[-1].out_channels != head.nc for level in scores):
            raise UnfitError(f"the head says {head.nc} classes and computes {scores[0][-1].out_channels}")
        if any(level[-1].out_channels != 4 * head.reg_max for level in boxes):
            raise UnfitError(f"the head says {head.reg_max} bins a side and computes another number")
    _settle_task(head)
    head.stride = torch.zeros(head.nl)
    head.shape, head.anchors, head.strides = None, torch.empty(0), torch.empty(0)


def _settle_task(head: Any) -> None:
    """Hold what a head gives beside boxes and scores against the layers that compute it."""
    match head:
        case Segment():
            wanted, name = head.nm, "mask coefficients"
            if head.proto.cv3.conv.out_channels != head.nm:
                raise UnfitError(f"the head says {head.nm} prototypes of masks and computes another number")
        case Pose():
            wanted, name = head.kpt_shape[0] * head.kpt_shape[1], "numbers of keypoints"
            head.nk, head.nk_sigma = wanted, 2 * head.kpt_shape[0]
        case OBB():
            wanted, name = head.ne, "angles"
        case _:
            return
    for prefix in ("", "one2one_"):
        branch = getattr(head, f"{prefix}cv4_kpts", None) or getattr(head, f"{prefix}cv4", None) or ()
        last = [level if isinstance(level, nn.Conv2d) else level[-1] for level in branch]
        if any(layer.out_channels != wanted for layer in last):
            raise UnfitError(f"the head says {wanted} {name} and computes another number")
