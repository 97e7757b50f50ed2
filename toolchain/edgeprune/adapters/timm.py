"""timm's classifiers: ``--model timm:resnet18 --weights FILE``, or a checkpoint that names its network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from edgeprune.adapters.collection import Collection, InputOf, read_config
from edgeprune.core.documents import validate
from edgeprune.core.errors import ConfigError, ModelError, RuntimeMissingError, did_you_mean
from edgeprune.core.extras import how_to_get
from edgeprune.models.plain import read_outline


@dataclass(frozen=True)
class Timm(Collection):
    """The adapter of timm's classifiers."""

    NAME: ClassVar[str] = "timm"
    PACKAGES = ("timm",)

    def make(self, architecture: str, classes: int) -> nn.Module:
        """Return a network with fresh weights.

        Raises:
            ConfigError: timm has no such network.
        """
        timm = _timm()
        known = timm.list_models()
        if architecture.partition(".")[0] not in known:
            raise ConfigError(
                f"--model timm:{architecture}: timm {timm.__version__} has no such network"
                f"{did_you_mean(architecture, known)}; `timm.list_models()` lists them"
            )
        model: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=classes)
        model.classes = classes  # type: ignore[assignment]
        return model

    def published(self, architecture: str) -> InputOf:
        """Return the input of the weights that timm publishes under this name.

        Raises:
            ConfigError: its pictures are squeezed or framed, or there are not three planes.
        """
        model: Any = self.make(architecture, 2)
        return _input_of(model.pretrained_cfg, f"--model timm:{architecture}")

    def told_by(self, path: Path) -> tuple[str, InputOf | None] | None:
        """Return what timm's training checkpoint calls `arch`, or what a folder's `config.json` tells."""
        if not path.is_dir():
            named = read_outline(path).texts.get("arch")
            return (named, None) if named else None
        config = read_config(path) or {}
        named, told = config.get("architecture"), config.get("pretrained_cfg")
        if not isinstance(named, str):
            return None
        return named, _input_of(told, str(path)) if isinstance(told, dict) else None


def _input_of(config: Mapping[str, Any], where: str) -> InputOf:
    size, mode = config.get("input_size", ()), config.get("crop_mode", "center")
    if mode != "center" or list(size)[:1] != [3]:
        raise ConfigError(
            f"{where}: it takes pictures of the size {list(size)} by crop mode {mode!r}; "
            "only a centre crop of three planes is supported"
        )
    told = {
        "imgsz": size[1],
        "mean": config.get("mean"),
        "std": config.get("std"),
        "crop": config.get("crop_pct", 0.875),
        "bicubic": config.get("interpolation", "bicubic") == "bicubic",
    }
    return validate(InputOf, told, f"{where}: its input", ModelError)


def _timm() -> Any:
    try:
        import timm
    except ImportError as exc:
        raise RuntimeMissingError(f"timm is not installed here: {how_to_get('timm')}") from exc
    return timm


ADAPTER = Timm()
