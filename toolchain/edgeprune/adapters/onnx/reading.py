"""From the nodes of an ONNX graph to the steps of a plan, by running them one after the other.

Since each step is run when it is made, every shape is known, and what depends on shapes alone is a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeprune.adapters.onnx.naming import Names
from edgeprune.adapters.onnx.network import Step, made
from edgeprune.core.errors import shorten

Array = npt.NDArray[Any]


class UnreadableError(Exception):
    """A node cannot be a step, for a reason in a few words."""


@dataclass(frozen=True)
class Node:
    """A node of the graph.

    Attributes:
        inputs: names; an empty one is left out.
        attributes: as Python values.
        opset: of ONNX's own operators.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int

    def has(self, position: int) -> bool:
        """Whether an input is given."""
        return position < len(self.inputs) and bool(self.inputs[position])


@dataclass
class Reader:
    """What is known while a graph is read.

    Attributes:
        constants: values that depend on no image.
        traced: values that do, as they are for one image.
        state: weights and constants by the names that they have in the network.
    """

    constants: dict[str, Array]
    traced: dict[str, torch.Tensor]
    steps: list[Step] = field(default_factory=list)
    state: dict[str, torch.Tensor] = field(default_factory=dict)
    names: Names = field(default_factory=Names)
    _renamed: dict[str, str] = field(default_factory=dict)
    _held: dict[str, str] = field(default_factory=dict)

    def value(self, name: str) -> torch.Tensor:
        """Return a value of the trace."""
        return self.traced[self.called(name)]

    def called(self, name: str) -> str:
        """Return what a value is called in the plan, where identities are left out."""
        while name in self._renamed:
            name = self._renamed[name]
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a value or constant."""
        return tuple(self.constants[name].shape if name in self.constants else self.value(name).shape)

    def same(self, node: Node) -> None:
        """Leave out a node that changes nothing."""
        self._renamed[node.outputs[0]] = node.inputs[0]

    def constant(self, node: Node, position: int, attribute: str = "", default: Any = None) -> Any:
        """Return an argument that newer operators have as an input and older ones as an attribute.

        Raises:
            UnreadableError: it is an input, and depends on the image.
        """
        if node.has(position):
            name = node.inputs[position]
            if name not in self.constants:
                raise UnreadableError(f"its {attribute or 'argument'} is computed from the image")
            return self.constants[name].tolist()
        return node.attributes.get(attribute, default)

    def weight(self, node: Node, position: int) -> torch.Tensor:
        """Return a weight as float32.

        Raises:
            UnreadableError: it is computed from the image.
        """
        if node.inputs[position] not in self.constants:
            raise UnreadableError("its weight is computed from the image")
        return torch.from_numpy(np.array(self.constants[node.inputs[position]], dtype=np.float32))

    def layer(
        self,
        node: Node,
        kind: str,
        settings: Mapping[str, Any],
        state: Mapping[str, torch.Tensor] | None = None,
        given: str | None = None,
    ) -> None:
        """Add a step of a layer, with its weights; `given` is its input where it is not the node's."""
        weight = node.inputs[1] if state and "weight" in state and node.has(1) else ""
        name = self.names.take(node.operator, node.name, weight, is_layer=True)
        source = self.called(node.inputs[0]) if given is None else given
        step = Step(name=name, kind=kind, settings=dict(settings), inputs=(source,), outputs=node.outputs[:1])
        self._add(step, state or {})

    def operator(
        self, node: Node, kind: str, settings: Mapping[str, Any], inputs: Sequence[str] | None = None
    ) -> None:
        """Add a step of an operator, with the node's inputs unless others are given."""
        given = tuple(self._hold(name) for name in (node.inputs if inputs is None else inputs) if name)
        name = self.names.take(node.operator, node.name)
        self._add(Step(name=name, kind=kind, settings=dict(settings), inputs=given, outputs=node.outputs), {})

    def before(self, node: Node, kind: str, settings: Mapping[str, Any]) -> str:
        """Add a step before a node, such as its padding, and return the name of what it gives."""
        name = self.names.take(kind, node.name)
        out = f"{node.outputs[0]}/{kind}"
        inputs = (self.called(node.inputs[0]),)
        self._add(Step(name=name, kind=kind, settings=dict(settings), inputs=inputs, outputs=(out,)), {})
        return out

    def _hold(self, name: str) -> str:
        """Return the name of an operator's input; a constant gets a step of its own."""
        if name not in self.constants:
            return self.called(name)
        if name not in self._held:
            array = self.constants[name]
            halves = array.dtype in (np.float16, np.float64)
            tensor = torch.from_numpy(np.array(array, dtype=np.float32 if halves else array.dtype))
            self._held[name] = held = f"{name}/constant"
            settings = {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
            step = Step(
                name=self.names.take("Constant", ""), kind="Constant", settings=settings, outputs=(held,)
            )
            self._add(step, {"value": tensor})
        return self._held[name]

    def _add(self, step: Step, state: Mapping[str, torch.Tensor]) -> None:
        module = made(step).eval()
        if state:
            module.load_state_dict(dict(state), strict=False)
        try:
            with torch.no_grad():
                found = module(*(self.traced[name] for name in step.inputs))
        except (RuntimeError, IndexError, ValueError, TypeError) as exc:
            raise UnreadableError(shorten(exc, 120)) from exc
        several = found if isinstance(found, list) else [found]
        self.traced |= dict(zip(step.outputs, several, strict=False))
        self.steps.append(step)
        self.state |= {f"{step.name}.{key}": tensor for key, tensor in module.state_dict().items()}


Handler = Callable[[Reader, Node], None]


def read_nodes(graph: onnx.GraphProto, reader: Reader, opset: int, table: Mapping[str, Handler]) -> None:
    """Add the steps of all nodes of a graph to a reader.

    Raises:
        UnreadableError: nodes that cannot be read, each with its reason.
    """
    for entry in graph.node:
        node = Node(
            entry.op_type,
            entry.name,
            tuple(entry.input),
            tuple(entry.output),
            {each.name: _plain(each) for each in entry.attribute},
            opset,
        )
        if node.operator == "Shape" and node.inputs[0] not in reader.constants:
            reader.constants[node.outputs[0]] = _shape(node, reader)
        elif all(name in reader.constants for name in node.inputs if name):
            _fold(entry, opset, reader)
        else:
            try:
                table[node.operator](reader, node)
            except UnreadableError as exc:
                name = f"{node.operator} {node.name}".strip()
                raise UnreadableError(f"{name}: {exc}") from exc


def _plain(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _shape(node: Node, reader: Reader) -> Array:
    shape = reader.shape(node.inputs[0])
    start, end = node.attributes.get("start", 0), node.attributes.get("end")
    return np.array(shape[start:end], dtype=np.int64)


def _fold(entry: onnx.NodeProto, opset: int, reader: Reader) -> None:
    """Compute a node of constants by ONNX's own reference."""
    names = list(dict.fromkeys(name for name in entry.input if name))
    given = [onnx.helper.make_tensor_value_info(
        name, onnx.helper.np_dtype_to_tensor_dtype(reader.constants[name].dtype), None) for name in names
    ]  # fmt: skip
    outputs = [name for name in entry.output if name]
    wanted = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in outputs]
    graph = onnx.helper.make_graph([entry], "one", given, wanted)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        found = ReferenceEvaluator(model).run(None, {name: reader.constants[name] for name in names})
    except Exception as exc:  # whatever an operator raises
        raise UnreadableError(f"{entry.op_type} {entry.name}: {shorten(exc, 120)}") from exc
    reader.constants |= {name: np.asarray(each) for name, each in zip(outputs, found, strict=True)}
