"""ONNX files: their one reader. It travels to a device, where the package `onnx` may be missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.errors import EdgepruneError, ModelError, shortened
from edgeprune.files import ENGINE_BYTES, inside, opened, read_bytes

if TYPE_CHECKING:
    import onnx

_FIELD_TYPES = range(6)  # of protobuf, in the lowest three bits of a field's first byte


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

    with opened(path, error, ENGINE_BYTES) as stream:  # before gigabytes of zeros are read
        first = stream.read(1)
    if not first or not first[0] >> 3 or first[0] & 7 not in _FIELD_TYPES:
        raise error(f"{path}: not an ONNX file")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(read_bytes(path, error, ENGINE_BYTES))
    except EdgepruneError:
        raise
    except Exception as exc:  # protobuf raises classes of its own
        raise error(f"{path}: not an ONNX file: {shortened(exc)}") from exc
    if not model.graph.node and not model.graph.input:
        raise error(f"{path}: not an ONNX file: it holds no network")
    if weights:
        for file in external_files(path, model, error):
            with opened(file, error, ENGINE_BYTES):
                pass
        try:
            load_external_data_for_model(model, str(path.parent))
        except Exception as exc:  # onnx checks offsets, lengths and links, each with an error of its own
            said = " ".join(str(exc).split()) or type(exc).__name__
            raise error(f"{path}: its external weights cannot be read: {said}") from exc
    return model


def external_files(path: Path, model: Any, error: type[EdgepruneError] = ModelError) -> list[Path]:
    """Return the files beside an ONNX file that hold its weights, sorted.

    Raises:
        error: a name leads out of the file's folder.
    """
    from onnx import TensorProto
    from onnx.external_data_helper import _get_all_tensors

    names = {
        entry.value
        for tensor in _get_all_tensors(model)
        if tensor.data_location == TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return sorted(inside(path.parent, name, error) for name in names)
