"""Checkpoints written as the YOLOv5 repository names its classes, so that its own scripts read them too."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import nn

from edgeprune.models.checkpoint.names import CLASSIC
from edgeprune.models.checkpoint.record import TrainArgs

_THEIRS = {ours: f"models.{theirs}" for theirs, ours in CLASSIC.items()} | {
    CLASSIC["yolo.DetectionModel"]: "models.yolo.DetectionModel"
}
_PICKLER: Any = pickle._Pickler  # the one whose methods can be overridden


class _Renaming(_PICKLER):  # type: ignore[misc]
    """Writes our classes, and those of ultralytics, by the names of their equals there."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """Write a reference to a class or function."""
        theirs = _THEIRS.get(f"{getattr(obj, '__module__', '')}.{getattr(obj, '__qualname__', '')}")
        if theirs is None:
            super().save_global(obj, name)
            return
        module, _, cls = theirs.rpartition(".")
        self.write(pickle.GLOBAL + f"{module}\n{cls}\n".encode("ascii"))
        self.memoize(obj)


# What torch asks of a module that pickles.
_MODULE = SimpleNamespace(Pickler=_Renaming, __name__="pickle")


def save(model: nn.Module, path: Path) -> None:
    """Save a module in half precision as a YOLOv5 checkpoint, also of a pruned network.

    Read again by `load`, and by the repository itself where it has all of the network's classes.
    """
    keep = cast(Any, copy.deepcopy(model).half().cpu())
    keep.criterion = None  # the loss of a training run is no part of the model
    args = {key: keep.args[key] for key in TrainArgs.model_fields if key in keep.args}
    keep.hyp = {**args, **keep.hyp}
    keep.args = args
    for module in keep.modules():
        module._forward_hooks.clear()
    head = keep.model[-1]
    head.settle()
    head.grid, head.anchor_grid = ([torch.zeros(1)] * head.nl for _ in range(2))  # what their head expects
    head.inplace = keep.inplace = True
    content = {
        "model": keep,
        "ema": None,
        "updates": None,
        "optimizer": None,
        "epoch": -1,
        "best_fitness": None,
        "opt": {"imgsz": args.get("imgsz")},
    }
    torch.save(content, path, pickle_module=_MODULE)
