"""Checkpoints of ultralytics models: loaded as float32 modules, saved so that `YOLO(...)` reads them too."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import nn
from ultralytics import __version__ as ultralytics_version
from ultralytics.nn.tasks import BaseModel

from edgeprune.core.errors import ModelError
from edgeprune.models.checkpoint.rebuild import input_channels
from edgeprune.models.checkpoint.record import TrainArgs
from edgeprune.models.fit import require_finite
from edgeprune.models.safe_load import classes_in, load_checkpoint


def parts() -> Mapping[str, Any]:
    """Return nothing: ultralytics alone decides what its adapters compute."""
    return {}


def names(path: Path, network: str) -> bool:
    """Tell whether a checkpoint names a network of ultralytics, such as ``DetectionModel``."""
    return f"ultralytics.nn.tasks.{network}" in classes_in(path)


def load_network(path: Path, trust: bool = False) -> Any:
    """Load the module of a checkpoint in float32 and eval mode, with gradients on.

    Args:
        trust: unpickle whatever the file holds, which runs its code; also inside `trusting`.

    Returns:
        The module, an ultralytics model of any task; whatever else a trusted file holds as it is.

    Raises:
        ModelError: it cannot be read safely, takes no colour images, or holds NaN or infinite weights.
    """
    model = load_checkpoint(path, trust)
    if not isinstance(model, BaseModel):
        return model
    if (channels := input_channels(model)) != 3:
        raise ModelError(
            f"{path}: the model reads images of {channels} channels; only 3 (colour) are supported"
        )
    require_finite(model, path)
    model = model.float().eval()
    # Checkpoints load with gradients off, and then torch-pruning silently prunes nothing.
    model.requires_grad_(True)
    return model


class Told(NamedTuple):
    """What a network tells of itself, whatever its task: see `ModelInfo`."""

    family: str
    names: tuple[str, ...]
    imgsz: int | None


def read_told(model: nn.Module, usual: str) -> Told:
    """Read family, classes and input size off a loaded network.

    Args:
        usual: the family where the checkpoint does not name its YAML file.
    """
    told = cast(Any, model)
    imgsz = told.args.get("imgsz")
    return Told(
        family=Path(str(told.yaml.get("yaml_file", usual))).stem,
        names=tuple(str(told.names[index]) for index in sorted(told.names)),
        imgsz=int(imgsz) if isinstance(imgsz, int) else None,
    )


def save(model: nn.Module, path: Path) -> None:
    """Save a module in half precision as an Ultralytics checkpoint, readable by `load` and by `YOLO(...)`."""
    keep = cast(Any, copy.deepcopy(model).half().cpu())
    keep.criterion = None  # the loss of a training run is no part of the model
    vars(keep).pop("transforms", None)  # nor is how a classifier's trainer resized its images
    keep.args = {key: keep.args[key] for key in TrainArgs.model_fields if key in keep.args}
    for module in keep.modules():
        module._forward_hooks.clear()  # distillation hangs its hooks into the student
    checkpoint = {"model": keep, "ema": None, "train_args": keep.args, "version": ultralytics_version}
    torch.save(checkpoint, path)
