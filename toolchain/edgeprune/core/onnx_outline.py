"""What an ONNX file says of its network, without the weights and without the package `onnx`.

An install that only measures has no such package. The fields are found by their numbers in onnx.proto.
Standard library only: it travels to a device.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from edgeprune.core.errors import EdgepruneError, ModelError
from edgeprune.core.files import ENGINE_BYTES, open_regular
from edgeprune.core.protobuf import Bytes, Field, fields, integers


@dataclass(frozen=True)
class Node:
    """A node of the graph.

    Attributes:
        domain: empty for ONNX's own operators.
        integers: its attributes that are single integers.
    """

    operator: str = ""
    domain: str = ""
    name: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    integers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Value:
    """An input, or the weights of the graph.

    Attributes:
        kind: type of the elements, by its number in TensorProto.
        shape: 0 for a side that is not fixed.
    """

    name: str = ""
    kind: int = 0
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Outline:
    """A network as its file describes it.

    Attributes:
        inputs: those that are given; old files list their weights among them.
        metadata: the texts that the file carries, by key.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    weights: tuple[Value, ...]
    metadata: Mapping[str, str]


def read_outline(path: Path, error: type[EdgepruneError] = ModelError) -> Outline:
    """Read the outline of an ONNX file.

    Raises:
        error: it cannot be read, see `files.opened`, is no ONNX file, or holds no network.
    """
    with open_regular(path, error, ENGINE_BYTES) as stream:
        try:
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                outline = _model(content)
        except (ValueError, IndexError) as exc:  # also of an empty file
            raise error(f"{path}: not an ONNX file: {exc}") from exc
    if not outline.nodes and not outline.inputs:
        raise error(f"{path}: not an ONNX file: it holds no network")
    return outline


def _model(content: Bytes) -> Outline:
    nodes: list[Node] = []
    inputs: list[Value] = []
    weights: list[Value] = []
    metadata: dict[str, str] = {}
    for part in fields(content, 0, len(content)):
        if part.number == 7 and _is_message(part):
            for entry in filter(_is_message, fields(content, part.start, part.end)):
                _collect(content, entry, 1, _node, nodes)
                _collect(content, entry, 5, _tensor, weights)
                _collect(content, entry, 11, _value, inputs)
        elif part.number == 14 and _is_message(part):
            told = _texts(content, part)
            metadata[told.get(1, "")] = told.get(2, "")
    names = {weight.name for weight in weights}
    given = tuple(value for value in inputs if value.name not in names)
    return Outline(tuple(nodes), given, tuple(weights), metadata)


def _is_message(part: Field) -> bool:
    return part.value is None


_Read = TypeVar("_Read")


def _collect(
    content: Bytes, entry: Field, number: int, read: Callable[[Bytes, Field], _Read], into: list[_Read]
) -> None:
    if entry.number == number:
        into.append(read(content, entry))


def _texts(content: Bytes, message: Field) -> dict[int, str]:
    inner = fields(content, message.start, message.end)
    return {part.number: part.text_in(content) for part in inner if _is_message(part)}


def _node(content: Bytes, message: Field) -> Node:
    inputs: list[str] = []
    outputs: list[str] = []
    numbers: dict[str, int] = {}
    told = {3: "", 4: "", 7: ""}
    for part in filter(_is_message, fields(content, message.start, message.end)):
        if part.number in told:
            told[part.number] = part.text_in(content)
        elif part.number in (1, 2):
            (inputs if part.number == 1 else outputs).append(part.text_in(content))
        elif part.number == 5:
            name, value = _attribute(content, part)
            numbers |= {} if value is None else {name: value}
    return Node(told[4], told[7], told[3], tuple(inputs), tuple(outputs), numbers)


def _attribute(content: Bytes, message: Field) -> tuple[str, int | None]:
    name, value = "", None
    for part in fields(content, message.start, message.end):
        if part.number == 1 and _is_message(part):
            name = part.text_in(content)
        elif part.number == 3:
            value = part.value
    return name, value


def _tensor(content: Bytes, message: Field) -> Value:
    told: dict[str, Any] = {}
    dims: list[int] = []
    for part in fields(content, message.start, message.end):
        if part.number == 1:
            dims += integers(content, part)
        elif part.number == 2 and part.value is not None:
            told["kind"] = part.value
        elif part.number == 8 and _is_message(part):
            told["name"] = part.text_in(content)
    return Value(shape=tuple(dims), **told)


def _value(content: Bytes, message: Field) -> Value:
    name, kind = "", 0
    shape: tuple[int, ...] = ()
    for part in filter(_is_message, fields(content, message.start, message.end)):
        if part.number == 1:
            name = part.text_in(content)
        elif part.number == 2:
            for tensor in fields(content, part.start, part.end):
                if tensor.number == 1 and _is_message(tensor):
                    kind, shape = _tensor_type(content, tensor)
    return Value(name, kind, shape)


def _tensor_type(content: Bytes, message: Field) -> tuple[int, tuple[int, ...]]:
    kind, sides = 0, []
    for part in fields(content, message.start, message.end):
        if part.number == 1 and part.value is not None:
            kind = part.value
        elif part.number == 2 and _is_message(part):
            for dim in filter(_is_message, fields(content, part.start, part.end)):
                if dim.number == 1:
                    told = {one.number: one.value for one in fields(content, dim.start, dim.end)}
                    sides.append(told.get(1) or 0)
    return kind, tuple(sides)
