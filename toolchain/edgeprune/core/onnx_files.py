"""ONNX files: their one reader. It travels to a device, where the package `onnx` may be missing."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.errors import EdgepruneError, ModelError, shorten
from edgeprune.core.files import ENGINE_BYTES, inside, open_regular, read_bytes
from edgeprune.core.protobuf import fields

if TYPE_CHECKING:
    import onnx

_FIELD_TYPES = range(6)  # of protobuf, in the lowest three bits of a field's first byte
_LOCATION = b"location"
# Of each message of onnx.proto the fields that lead to tensors, and to a tensor's external data.
_MESSAGES: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
}


def read_onnx(path: Path, error: type[EdgepruneError] = ModelError, weights: bool = False) -> onnx.ModelProto:
    """Read an ONNX file.

    Args:
        weights: also those that lie in files beside it; else they stay where they are.

    Raises:
        error: it cannot be read, see `files.opened`, is no ONNX file, or holds no network.
        ImportError: `onnx` is not installed.
    """
    import onnx
    from onnx.external_data_helper import load_external_data_for_model

    with open_regular(path, error, ENGINE_BYTES) as stream:  # before gigabytes of zeros are read
        first = stream.read(1)
    if not first or not first[0] >> 3 or first[0] & 7 not in _FIELD_TYPES:
        raise error(f"{path}: not an ONNX file")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(read_bytes(path, error, ENGINE_BYTES))
    except (EdgepruneError, MemoryError):
        raise
    except Exception as exc:  # protobuf raises classes of its own
        raise error(f"{path}: not an ONNX file: {shorten(exc)}") from exc
    if not model.graph.node and not model.graph.input:
        raise error(f"{path}: not an ONNX file: it holds no network")
    if weights:
        for file in external_files(path, error):
            with open_regular(file, error):
                pass
        try:
            load_external_data_for_model(model, str(path.parent))
        except Exception as exc:  # onnx checks offsets, lengths and links, each with an error of its own
            said = " ".join(str(exc).split()) or type(exc).__name__
            raise error(f"{path}: its external weights cannot be read: {said}") from exc
    return model


def external_files(path: Path, error: type[EdgepruneError] = ModelError) -> tuple[Path, ...]:
    """Return the files beside an ONNX file that hold weights of it, sorted; none of what is no ONNX file.

    The fields are found by their numbers in onnx.proto, since a device that runs a network need not have the
    package `onnx`.

    Raises:
        error: the file cannot be read, or a name leads out of its folder.
    """
    with open_regular(path, error, ENGINE_BYTES) as stream:
        try:
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                names = _locations(content) if content.find(_LOCATION) >= 0 else set()
        except (ValueError, IndexError):  # empty, or not of this format, which `read_onnx` tells
            return ()
    return tuple(sorted(inside(path.parent, name, error) for name in names))


def _locations(content: mmap.mmap) -> set[str]:
    """Return the values of ``location`` in the external data of all tensors of a model."""
    found: set[str] = set()
    todo: list[tuple[str, int, int]] = [("Model", 0, len(content))]
    while todo:
        kind, start, end = todo.pop()
        told: dict[int, bytes] = {}
        for field in fields(content, start, end):
            if field.value is not None:
                continue
            if kind == "Entry":
                told[field.number] = field.bytes_in(content)
            elif inner := _MESSAGES[kind].get(field.number):
                todo.append((inner, field.start, field.end))
        if told.get(1) == _LOCATION:
            found.add(told.get(2, b"").decode())
    return found
