"""What most kinds of model answer alike, as a base class: a new adapter says only what is its own.

It owes `recognise`, `load`, `save`, `info`, `preprocess`, `dataset` and `evaluate`; for criteria that read
gradients and for `finetune` also `labelled_images` and `loss`. `adapters/classifier.py` has all but the first
four for classifiers.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgeprune.core.errors import ConfigError, ModelError
from edgeprune.images.postprocess import Postprocess
from edgeprune.images.size import ImageSize
from edgeprune.models.adapter import Batch, ModelInfo, Predict, Training
from edgeprune.models.following import mark_followed
from edgeprune.models.outputs import tensors_in
from edgeprune.models.recovery import recover

if TYPE_CHECKING:
    from edgeprune.config.recipe import Recipe
    from edgeprune.images.dataset import Dataset
    from edgeprune.images.preprocess import Preprocess
    from edgeprune.records.scores import Accuracy

_NOT_SPARSE = (
    "sparse.epochs: this kind of model has no sparse training, so it cannot be swept either; leave it out"
)
_NOT_AWARE = "quantize.aware_epochs: this kind of model has no quantization-aware training; leave it out"
_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)


class BaseAdapter(ABC):
    """A `ModelAdapter` with an answer to everything that has a sensible one."""

    PACKAGES: tuple[str, ...] = ()

    @abstractmethod
    def recognise(self, path: Path) -> bool:
        """Tell whether a file is a checkpoint of this kind, without running anything of it."""

    @abstractmethod
    def load(self, path: Path, trust: bool = False) -> nn.Module:
        """Load a checkpoint, also of a pruned network, as a float32 module in eval mode, gradients on."""

    @abstractmethod
    def save(self, model: nn.Module, path: Path) -> None:
        """Save a module, also a pruned one, so that `load` reads it again."""

    @abstractmethod
    def info(self, model: nn.Module) -> ModelInfo:
        """Describe a loaded model."""

    @abstractmethod
    def preprocess(self, imgsz: ImageSize) -> Preprocess:
        """Return how an image becomes the input."""

    @abstractmethod
    def dataset(self, path: Path, info: ModelInfo) -> Dataset:
        """Read and list the data that the user names, for this model's classes."""

    @abstractmethod
    def evaluate(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> Accuracy:
        """Measure accuracy on a split with any callable that maps images to the network's outputs."""

    def parts(self) -> Mapping[str, Any]:
        """Return nothing: the packages alone decide what it computes."""
        return {}

    def labelled_images(self, dataset: Dataset, spec: Preprocess, count: int, seed: int) -> Iterator[Batch]:
        """Say that nothing yields labelled images here."""
        raise ConfigError(
            "this kind of model gives no labelled images: take a criterion that reads weights alone, such as "
            "prune.criterion=l1, and no training (finetune.epochs=0)"
        )

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Say that there is no loss here; see `labelled_images`."""
        raise ConfigError("this kind of model has no loss")

    def training_steps(
        self, dataset: Dataset, spec: Preprocess, size: int, seed: int
    ) -> Iterator[Sequence[Batch]]:
        """Yield an epoch of `labelled_images`, `size` a step, one a batch: each step draws its own."""
        for step in range(math.ceil(len(dataset.images["train"]) / size)):
            yield list(self.labelled_images(dataset, spec, size, seed + step))

    def taught_loss(
        self, model: nn.Module, teacher: nn.Module | None, batch: Batch, recipe: Recipe
    ) -> torch.Tensor:
        """Return the loss of the labels: no teacher is asked."""
        return self.loss(model, batch)

    def prunable(self, model: nn.Module) -> nn.Module:
        """Return a copy, gradients on, in eval mode, its blocks judged by their operations.

        Raises:
            ModelError: what the network does between its blocks cannot be followed.
        """
        twin = copy.deepcopy(model).requires_grad_(True).eval()
        mark_followed(twin, self._example(twin), self.unprunable(twin))
        return twin

    def exportable(self, model: nn.Module, end2end: bool = True) -> nn.Module:
        """Return a float32 copy, gradients off, in eval mode."""
        return copy.deepcopy(model).float().requires_grad_(False).eval()

    def unprunable(self, model: nn.Module) -> list[nn.Module]:
        """Return the layers that make the outputs: their widths are the task's."""
        return output_layers(model, self._example(model))

    def _example(self, model: nn.Module) -> torch.Tensor:
        imgsz = self.info(model).imgsz
        if imgsz is None:
            raise ModelError("this model does not tell its input size, so its last layers are not known")
        return torch.zeros(self.preprocess(imgsz).shape)

    def compare_reading(self, dataset: Dataset, work: Path) -> None:  # noqa: B027
        """Compare nothing: no trainer with a loader of its own reads the data."""

    def causes(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> tuple[str, ...]:
        """Return nothing: no measurement tells why."""
        return ()

    def float_nodes(self, names: Sequence[str]) -> list[str]:
        """Return nothing: every layer may be quantized."""
        return []

    def finetune(self, training: Training) -> None:
        """Train with `labelled_images` and `loss`, see `models/recovery.py`."""
        recover(self, training)

    def require_trainings(self, recipe: Recipe) -> None:
        """Refuse a recipe with a training that is not overridden: this kind of model does not have it."""
        if recipe.sparse.epochs and type(self).sparsify is BaseAdapter.sparsify:
            raise ConfigError(_NOT_SPARSE)
        if recipe.quantize.aware_epochs and type(self).train_aware is BaseAdapter.train_aware:
            raise ConfigError(_NOT_AWARE)

    def sparsify(self, training: Training) -> None:
        """Say that there is no sparse training here."""
        raise ConfigError(_NOT_SPARSE)

    def train_aware(self, training: Training) -> None:
        """Say that there is no training with rounding here."""
        raise ConfigError(_NOT_AWARE)


def output_layers(model: nn.Module, example: torch.Tensor) -> list[nn.Module]:
    """Return the layers with weights that the outputs come from with no other such layer in between.

    Args:
        example: an input; the outputs' graph of gradients is walked back from the outputs.
    """
    owners = {
        id(parameter): module
        for module in model.modules()
        if isinstance(module, _WEIGHTED)
        for parameter in module.parameters(recurse=False)
    }
    with torch.enable_grad():
        outputs = model(example.requires_grad_(True))
    waiting: list[Any] = [output.grad_fn for output in tensors_in(outputs)]
    found: dict[nn.Module, None] = {}
    seen: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        inputs = [before for before, _ in node.next_functions if before is not None]
        # A linear layer's weight comes transposed.
        own = [*inputs, *(later for each in inputs if each.name() == "TBackward0"
                          for later, _ in each.next_functions)]  # fmt: skip
        layers = {owners.get(id(getattr(each, "variable", None))) for each in own} - {None}
        found |= dict.fromkeys(layer for layer in layers if layer is not None)
        if not layers:
            waiting += inputs
    return list(found)
