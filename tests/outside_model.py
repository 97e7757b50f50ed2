"""A kind of model of another package: a classifier of plain torch, as small as an adapter gets."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn

from edgeprune.adapters.classifier import METRIC, Classifier
from edgeprune.images.postprocess import classifier
from edgeprune.images.preprocess import CENTRE_CROP, Preprocess
from edgeprune.models import ModelInfo

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def network(names: list[str], widths: tuple[int, int] = (64, 64)) -> nn.Module:
    """Return two convolutions and a linear layer; images (n, 3, 24, 32) to logits (n, classes)."""
    first, second = widths
    model = nn.Sequential(
        nn.Conv2d(3, first, 3, 2, 1), nn.BatchNorm2d(first), nn.ReLU(),
        nn.Conv2d(first, second, 3, 2, 1), nn.BatchNorm2d(second), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(second, len(names)),
    )  # fmt: skip
    model.names = names
    return model.eval()


class Outside(Classifier):
    PACKAGES = ("edgeprune-outside",)

    def recognise(self, path: Path) -> bool:
        try:
            return "outside" in torch.load(path, weights_only=True)
        except (OSError, RuntimeError, EOFError, UnpicklingError, TypeError):
            return False

    def load(self, path: Path, trust: bool = False) -> nn.Module:
        saved = torch.load(path, weights_only=True)
        model = network(saved["names"], tuple(saved["outside"]))
        model.load_state_dict(saved["state"])
        return model

    def save(self, model: nn.Module, path: Path) -> None:
        widths = [layer.out_channels for layer in model if isinstance(layer, nn.Conv2d)]
        torch.save({"outside": widths, "names": model.names, "state": model.state_dict()}, path)

    def info(self, model: nn.Module) -> ModelInfo:
        names = tuple(model.names)
        post = classifier(names, activated=False)
        return ModelInfo("classify", "outside", names, 4, (24, 32), METRIC, post)

    def preprocess(self, imgsz: object) -> Preprocess:
        return Preprocess(imgsz, pad=None, resize=CENTRE_CROP, mean=MEAN, std=STD)


ADAPTER = Outside()
