"""Adapter for RetinaFace-MobileNet0.25, whose published weights are recognised by their names and shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from edgeprune.adapters.retinaface.exported import ExportedFace, float_nodes
from edgeprune.adapters.retinaface.imitation import imitation_loss
from edgeprune.adapters.retinaface.loss import Faces, multibox_loss
from edgeprune.adapters.retinaface.network import RetinaFace
from edgeprune.adapters.retinaface.priors import STRIDES, prior_boxes
from edgeprune.adapters.sparse import sparsify
from edgeprune.adapters.ultralytics import mean_ap
from edgeprune.core.errors import ModelError
from edgeprune.images.dataset import Dataset, load_dataset
from edgeprune.images.postprocess import Postprocess, Selection, pose_estimator
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.images.size import ImageSize
from edgeprune.models import Batch, ModelInfo, Predict, Training
from edgeprune.models.base import BaseAdapter
from edgeprune.models.fit import find_misfits, fit
from edgeprune.models.plain import plain_kind, read_outline, read_plain, read_state, rebuild_plain, save_plain
from edgeprune.records.scores import Accuracy

KIND = "retinaface"
NAMES = ("face",)
MEAN = (104.0, 117.0, 123.0)
IMGSZ = 640
"""The size of its published accuracy, in pixels."""
NMS = 0.4
MOST = 750
"""Faces of a picture that its authors' programs keep."""
LANDMARKS = (5, 2)
"""Eyes, nose and corners of the mouth, x and y each."""
SHOWN = 0.6
"""The confidence from which its authors' program shows a face."""


class RetinaFaceAdapter(BaseAdapter):
    """Loads, prunes, trains, exports and judges RetinaFace-MobileNet0.25."""

    PACKAGES = ("ultralytics", "torchvision")  # mAP is ultralytics' arithmetic

    def recognise(self, path: Path) -> bool:
        """Tell whether a file holds the published weights or others of these names, or was saved here."""
        outline = read_outline(path)
        if outline.kind is not None or not any("ClassHead." in name for name in outline.weights):
            return outline.kind == KIND
        try:
            return not find_misfits(RetinaFace(), _published(path))
        except ModelError:
            return False

    def load(self, path: Path, trust: bool = False) -> RetinaFace:
        """Load a checkpoint, also of a pruned network, as a float32 module in eval mode, gradients on.

        Raises:
            ModelError: it cannot be read, or holds another network.
        """
        network = RetinaFace()
        if plain_kind(path) is not None:
            return cast(RetinaFace, rebuild_plain(read_plain(path), network, path))
        fit(network, _published(path), path)
        return network.float().eval().requires_grad_(True)

    def save(self, model: nn.Module, path: Path) -> None:
        """Save a network, also a pruned one, as plain data."""
        save_plain(path, KIND, {}, model, RetinaFace())

    def info(self, model: nn.Module) -> ModelInfo:
        """Describe the network: it is the same for all weights."""
        return ModelInfo("pose", KIND, NAMES, max(STRIDES), IMGSZ, mean_ap.METRIC, postprocess())

    def preprocess(self, imgsz: ImageSize) -> Preprocess:
        """Return how an image becomes the input: letterboxed, BGR, less the means, not scaled."""
        return Preprocess(imgsz, colour="BGR", scale=1.0, mean=MEAN)

    def dataset(self, path: Path, info: ModelInfo) -> Dataset:
        """Read a `data.yaml` whose one class is the face.

        Raises:
            DataError: no images, no labels, or other classes.
        """
        return load_dataset(path, info.names)

    def exportable(self, model: nn.Module, end2end: bool = True) -> nn.Module:
        """Return a copy that maps images to (1, 15, anchors): see `ExportedFace`."""
        return ExportedFace(cast(RetinaFace, super().exportable(model, end2end))).requires_grad_(False).eval()

    def unprunable(self, model: nn.Module) -> list[nn.Module]:
        """Return the convolutions of the heads: their widths are the anchors'."""
        network = cast(RetinaFace, model)
        heads = (*network.ClassHead, *network.BboxHead, *network.LandmarkHead)
        return [cast(nn.Module, head.conv1x1) for head in heads]

    def float_nodes(self, names: Sequence[str]) -> list[str]:
        """Return the nodes of the heads and the decode, which stay in float."""
        return float_nodes(names)

    def labelled_images(self, dataset: Dataset, spec: Preprocess, count: int, seed: int) -> Iterator[Batch]:
        """Yield up to `count` training images with their faces, one a batch, letterboxed, not augmented.

        Yields:
            ``img`` float32 (1, 3, H, W) and ``faces``, the `Faces` of that image.
        """
        for path in dataset.sample("train", count, seed):
            tensor, placement = load_input(path, spec)
            rows = torch.from_numpy(dataset.boxes(path))
            size = torch.tensor([placement.width, placement.height], dtype=torch.float32)
            centre = rows[:, 1:3] * size + torch.tensor([placement.left, placement.top])
            half = rows[:, 3:5] * size / 2
            yield {
                "img": torch.from_numpy(tensor),
                "faces": [Faces(torch.cat([centre - half, centre + half], 1))],
            }

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the loss of its training; landmarks count where they are known."""
        images = batch["img"]
        priors = prior_boxes(images.shape[2:]).to(images.device)
        return multibox_loss(model(images), batch["faces"], priors)

    def sparsify(self, training: Training) -> None:
        """Train with the criterion's regulariser, by the labels alone."""
        sparsify(self, training)

    def imitation_loss(self, got: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return how far outputs are from a teacher's, see `imitation.py`."""
        return imitation_loss(got, wanted)

    def evaluate(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> Accuracy:
        """Measure mAP of the boxes with any callable that maps images to the exported output."""
        return mean_ap.evaluate(predict, dataset, split, spec, post)

    def causes(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> tuple[str, ...]:
        """Return what measurements tell of why it finds next to nothing, a sentence each."""
        return mean_ap.causes(predict, dataset, split, spec, post)


def postprocess() -> Postprocess:
    """Return how the exported output is read, with the thresholds of its authors' programs."""
    plain = pose_estimator(NAMES, LANDMARKS, end2end=False)
    return replace(plain, evaluation=Selection(0.02, NMS, MOST), deployment=Selection(SHOWN, NMS, MOST))


def _published(path: Path) -> dict[str, torch.Tensor]:
    """Read weights by name; training on several GPUs leaves a prefix at each."""
    return {name.removeprefix("module."): tensor for name, tensor in read_state(path).items()}


ADAPTER = RetinaFaceAdapter()
