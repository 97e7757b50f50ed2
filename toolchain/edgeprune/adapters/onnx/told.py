"""What a bare ONNX file tells of itself, and what the user adds: how pictures go in, what its outputs are.

edgeprune's own metadata tells all. ultralytics' tells the task, the classes and the size, from which the rest
follows. Any other file tells nothing, and the user is asked.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from edgeprune.config.recipe import InputRecipe
from edgeprune.core.errors import ConfigError
from edgeprune.images.pixels import CENTRE_CROP, LETTERBOX
from edgeprune.images.postprocess import Postprocess, classifier, detector, values
from edgeprune.images.preprocess import Preprocess
from edgeprune.images.size import ImageSize, size_of
from edgeprune.images.spec import onnx_texts, spec_of

_RESIZE = {"letterbox": LETTERBOX, "crop": CENTRE_CROP}
_EXAMPLE = (
    "such as --set input.colour=RGB --set input.scale=0.00392157 --set input.resize=crop "
    "--set input.mean=[0.485,0.456,0.406] --set input.std=[0.229,0.224,0.225] for a classifier of torchvision"
)


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """Return the texts that a file carries, by key."""
    return {entry.key: entry.value for entry in model.metadata_props}


def told_size(metadata: Mapping[str, str]) -> ImageSize | None:
    """Return the size that ultralytics' metadata tells, None where there is none."""
    found = _literal(metadata.get("imgsz", ""))
    if isinstance(found, int):
        return found
    if isinstance(found, list | tuple) and len(found) == 2 and all(isinstance(side, int) for side in found):
        return size_of(*found)
    return None


def preprocess_of(
    path: Path, metadata: Mapping[str, str], given: InputRecipe, imgsz: ImageSize
) -> Preprocess:
    """Return how a picture becomes the input: what the file tells, changed by what the user gives.

    Raises:
        ConfigError: neither tells enough; what is missing is named.
    """
    told: Preprocess | None = None
    if onnx_texts(path):
        told = replace(spec_of(path).preprocess, imgsz=imgsz)
    elif _task(metadata) == "classify":
        told = Preprocess(imgsz, pad=None, resize=CENTRE_CROP)
    elif _task(metadata):
        told = Preprocess(imgsz)
    missing = [name for name in ("colour", "scale", "resize") if getattr(given, name) is None]
    if told is None and missing:
        keys = ", ".join(f"input.{name}" for name in missing)
        raise ConfigError(
            f"{path}: the file does not tell how a picture becomes its input: give {keys}, and input.mean "
            f"and input.std if they are used, {_EXAMPLE}"
        )
    told = told or Preprocess(imgsz)
    changes: dict[str, Any] = {
        key: value for key in ("colour", "scale", "mean", "std") if (value := getattr(given, key)) is not None
    }
    if given.resize is not None:
        resize = _RESIZE[given.resize]
        changes |= {"resize": resize, "pad": None if resize == CENTRE_CROP else told.pad or 114}
    return replace(told, **changes)


def postprocess_of(
    path: Path, metadata: Mapping[str, str], shapes: Sequence[tuple[int, ...]], is_normed: bool
) -> Postprocess:
    """Return how the outputs are read: as the file tells, else by their shapes.

    A single output (1, n) of two numbers or more is taken for the scores of classes, unless the network ends
    by dividing it by its norm, as one that describes faces does.

    Args:
        shapes: of the outputs for one image.
        is_normed: whether the network ends so.
    """
    if onnx_texts(path):
        return spec_of(path).postprocess
    first, names = shapes[0], _names(metadata)
    match _task(metadata):
        case "detect" if len(first) == 3 and first[1] == 4 + len(names):
            return detector(names, end2end=False)
        case "detect" if len(first) == 3 and first[2] == 6:
            return detector(names, end2end=True)
        case "classify" if len(first) == 2 and first[1] == len(names):
            return classifier(names)
    if len(shapes) == 1 and len(first) == 2 and first[1] > 1 and not is_normed:
        return classifier(tuple(f"class_{index}" for index in range(first[1])), activated=False)
    return values(_task(metadata) or "values", names)


def stride_of(metadata: Mapping[str, str]) -> int:
    """Return the stride that ultralytics' metadata tells; 1 where there is none."""
    found = _literal(metadata.get("stride", ""))
    return found if isinstance(found, int) and found > 0 else 1


def _task(metadata: Mapping[str, str]) -> str:
    """Return the task of a file that ultralytics, or edgeprune, has described; empty for any other."""
    return metadata.get("task", "") if {"task", "names", "stride"} <= metadata.keys() else ""


def _names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    found = _literal(metadata.get("names", ""))
    if not isinstance(found, dict) or set(found) != set(range(len(found))):
        return ()
    return tuple(str(found[index]) for index in range(len(found)))


def _literal(text: str) -> Any:
    """Read a Python literal, as ultralytics writes them; None of anything else."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
