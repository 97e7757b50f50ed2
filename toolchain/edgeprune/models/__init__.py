"""What can be optimised: one adapter a kind of model, behind one protocol."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import cast

from edgeprune.core.errors import ConfigError, did_you_mean, shorten
from edgeprune.core.resources import cache_dir
from edgeprune.models.adapter import Array, Batch, ModelAdapter, ModelInfo, Predict, Progress, Training

__all__ = [
    "MODELS",
    "Array",
    "Batch",
    "ModelAdapter",
    "ModelInfo",
    "Predict",
    "Progress",
    "Training",
    "adapter_of",
    "get_adapter",
]

# Here, because ultralytics reads them when it is imported, whichever adapter comes first.
os.environ.setdefault("YOLO_AUTOINSTALL", "false")  # it would pip-install what it misses
os.environ.setdefault("YOLO_VERBOSE", "false")
os.environ.setdefault(
    "YOLO_CONFIG_DIR", str(cache_dir() / "ultralytics")
)  # else it writes into the home folder

GROUP = "edgeprune.models"
"""The entry-point group by which other packages offer adapters."""
MODELS: dict[str, str] = {
    "ultralytics": "edgeprune.adapters.ultralytics.detect",
    "yolov5": "edgeprune.adapters.yolov5.detect",
    "ultralytics-classify": "edgeprune.adapters.ultralytics.classify",
    "ultralytics-segment": "edgeprune.adapters.ultralytics.segment:ADAPTER",
    "ultralytics-pose": "edgeprune.adapters.ultralytics.pose:ADAPTER",
    "ultralytics-obb": "edgeprune.adapters.ultralytics.obb:ADAPTER",
    "onnx": "edgeprune.adapters.onnx.bare:ADAPTER",
    "timm": "edgeprune.adapters.timm:ADAPTER",
    "torchvision": "edgeprune.adapters.torchvision:ADAPTER",
    "retinaface": "edgeprune.adapters.retinaface.adapter:ADAPTER",
}
"""Adapters by name: modules, or objects in them.

The first one says what is wrong with a file that no adapter recognises.
"""


def adapter_of(path: Path) -> ModelAdapter:
    """Return the adapter that recognises a checkpoint; nothing of the file is run.

    Adapters of other packages are asked first. The first of `MODELS` takes what none recognises.

    Raises:
        ConfigError: none recognises it, and an adapter of another package cannot be loaded.
        ModelError: it is known to be of another kind; see `foreign`.
    """
    from edgeprune.models.foreign import require_known  # it reads checkpoints, for which it takes torch

    damaged: list[ConfigError] = []
    for name in (*(point.name for point in _offered()), *reversed(MODELS)):
        try:
            adapter = get_adapter(name)
        except ConfigError as exc:
            damaged.append(exc)
            continue
        if adapter.recognise(path):
            return adapter
    if damaged and path.is_file():
        raise damaged[0]
    require_known(path)
    return get_adapter(next(iter(MODELS)))


def get_adapter(name: str) -> ModelAdapter:
    """Return the adapter of that name, from the table above or from an installed entry point.

    Raises:
        ConfigError: there is no such adapter, or it cannot be loaded.
    """
    if name in MODELS:
        module, _, attribute = MODELS[name].partition(":")
        found = import_module(module)
        return cast(ModelAdapter, getattr(found, attribute) if attribute else found)
    offered = {point.name: point for point in _offered()}
    if name in offered:
        return _loaded(offered[name])
    raise ConfigError(f"unknown kind of model {name!r}{did_you_mean(name, [*MODELS, *offered])}")


def _offered() -> Iterator[EntryPoint]:
    return iter(sorted(entry_points(group=GROUP), key=lambda point: point.name))


def _loaded(point: EntryPoint) -> ModelAdapter:
    try:
        return cast(ModelAdapter, point.load())
    except Exception as exc:  # whatever another package raises when it is imported
        raise ConfigError(
            f"the adapter {point.name!r} ({point.value}) cannot be loaded: {shorten(exc)}; "
            "mend or uninstall its package"
        ) from exc
