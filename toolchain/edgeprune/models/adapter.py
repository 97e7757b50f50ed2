"""What is asked of a kind of model: loaded, pruned, trained, exported, evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from edgeprune.images.postprocess import Postprocess
from edgeprune.images.size import ImageSize

if TYPE_CHECKING:
    import torch

    from edgeprune.config.recipe import Recipe
    from edgeprune.images.dataset import Dataset
    from edgeprune.images.preprocess import Preprocess
    from edgeprune.records.scores import Accuracy

Array = npt.NDArray[Any]
Predict = Callable[[npt.NDArray[np.float32]], Sequence[Array]]
"""Images float32 (n, 3, H, W) in, up to a batch, outputs (n, ...) out: a torch module or any engine."""

Batch = Mapping[str, Any]
"""Labelled images in the form that the adapter's own loss takes."""

Progress = Callable[[float, str], None]
"""Called with the share done, in [0, 1], and a few words."""


@dataclass(frozen=True)
class ModelInfo:
    """What a checkpoint says of itself.

    Attributes:
        task: what the network is for, in the word of its framework, such as ``detect``.
        family: of networks, such as ``yolov8n``.
        names: of the classes, in the order of the output.
        stride: largest stride of the network; the input size must be a multiple of it.
        imgsz: size of the input it was trained at, in pixels, or None when the checkpoint does not tell.
        metric: name of what the model is judged by, as `Accuracy.metric` of its evaluations has it.
        postprocess: how the outputs of the exported network are read.
        with_nms: of a network whose output is already free of duplicates, how its other head is read, which
            NMS follows; None of every other network.
        outputs: names of the exported network's outputs.
        is_single: whether it was trained with all classes of its data as one (`single_cls`).
        is_named: whether the checkpoint names its classes; else a build takes the names of its data, which
            `info` finds in the model's attribute `names`.
    """

    task: str
    family: str
    names: tuple[str, ...]
    stride: int
    imgsz: ImageSize | None
    metric: str
    postprocess: Postprocess
    with_nms: Postprocess | None = None
    outputs: tuple[str, ...] = ("output0",)
    is_single: bool = False
    is_named: bool = True

    @property
    def end2end(self) -> bool:
        """Whether the output is already free of duplicates, where another head would need NMS."""
        return self.with_nms is not None

    def before_nms(self) -> ModelInfo:
        """Return the same of the head that NMS follows; a network without a choice of heads as it is."""
        return self if self.with_nms is None else replace(self, postprocess=self.with_nms, with_nms=None)


@dataclass(frozen=True)
class Training:
    """One training of a checkpoint.

    Attributes:
        student: checkpoint that is trained.
        teacher: checkpoint that it learns from beside the labels; None for labels alone.
        imgsz: size of the input, in pixels.
        out: where the result goes: a checkpoint, or the folder of a sparse training.
        progress: told after every batch.
    """

    student: Path
    teacher: Path | None
    dataset: Dataset
    imgsz: ImageSize
    recipe: Recipe
    out: Path
    progress: Progress


class ModelAdapter(Protocol):
    """How the pipeline handles one kind of model: a module, or an object of a class such as `BaseAdapter`.

    Attributes:
        PACKAGES: distributions, beside torch and edgeprune, whose versions decide what it computes: the key
            of every stage that it takes part in holds them.
    """

    @property
    def PACKAGES(self) -> tuple[str, ...]:  # noqa: N802  # a constant of a module
        """Distributions that its results depend on."""
        ...

    def parts(self) -> Mapping[str, Any]:
        """Return what results depend on beside packages: settings, a digest of a user's file; JSON-like."""
        ...

    def recognise(self, path: Path) -> bool:
        """Tell whether a file is a checkpoint of this kind, without running anything of it."""
        ...

    def load(self, path: Path, trust: bool = False) -> torch.nn.Module:
        """Load a checkpoint safely as a float32 module in eval mode."""
        ...

    def save(self, model: torch.nn.Module, path: Path) -> None:
        """Save a module so that `load` and the model's own framework read it again."""
        ...

    def info(self, model: torch.nn.Module) -> ModelInfo:
        """Describe a loaded model."""
        ...

    def prunable(self, model: torch.nn.Module) -> torch.nn.Module:
        """Return a copy that computes the same function and that the dependency graph can trace."""
        ...

    def preprocess(self, imgsz: ImageSize) -> Preprocess:
        """Return how an image becomes this kind of model's input of that size, in pixels."""
        ...

    def dataset(self, path: Path, info: ModelInfo) -> Dataset:
        """Read and list the data that the user names, for this model's classes."""
        ...

    def compare_reading(self, dataset: Dataset, work: Path) -> None:
        """Hold images and labels against what the trainer's own loader finds; `work` is an empty folder."""
        ...

    def causes(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> tuple[str, ...]:
        """Return what measurements tell of why a model finds next to nothing on a split, a sentence each."""
        ...

    def unprunable(self, model: torch.nn.Module) -> list[torch.nn.Module]:
        """Return the module instances whose output channels must stay."""
        ...

    def exportable(self, model: torch.nn.Module, end2end: bool = True) -> torch.nn.Module:
        """Return a fused copy whose forward maps an image batch to the tuple of output tensors.

        Without `end2end`, a head that is free of duplicates gives way to one that NMS follows.
        """
        ...

    def float_nodes(self, names: Sequence[str]) -> list[str]:
        """Return those ONNX node names that must stay in float when the graph is quantized."""
        ...

    def sparsify(self, training: Training) -> None:
        """Train a checkpoint with the criterion's regulariser; `out` gets `model.pt` and `sparse.json`."""
        ...

    def finetune(self, training: Training) -> None:
        """Train a checkpoint back with its shape kept, leaving the best weights at `out`."""
        ...

    def train_aware(self, training: Training) -> None:
        """Train a checkpoint on with the rounding of int8, leaving the best float weights at `out`."""
        ...

    def labelled_images(self, dataset: Dataset, spec: Preprocess, count: int, seed: int) -> Iterator[Batch]:
        """Yield up to `count` images of the train split with their labels, one a batch, not augmented."""
        ...

    def loss(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Return the training loss of a model on a batch, a scalar to take gradients of."""
        ...

    def evaluate(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> Accuracy:
        """Measure accuracy on a split with any callable that maps images to the network's outputs."""
        ...
