"""Adapter for bare ONNX files: no training code and no labels are needed.

The original alone teaches and judges, see `adapters/unlabelled.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeprune.adapters import agreement
from edgeprune.adapters.onnx.loading import given_input, load_onnx, size_of_input
from edgeprune.adapters.onnx.network import DECODE, Flat, Network, Plan, ends_normed
from edgeprune.adapters.onnx.told import metadata_of, postprocess_of, preprocess_of, stride_of, told_size
from edgeprune.adapters.unlabelled import Unlabelled
from edgeprune.config.recipe import Recipe
from edgeprune.core.documents import validate
from edgeprune.core.errors import ConfigError, ModelError
from edgeprune.core.onnx_files import external_files, read_onnx
from edgeprune.images.dataset import Dataset, load_pictures
from edgeprune.images.postprocess import Postprocess
from edgeprune.images.preprocess import Preprocess
from edgeprune.images.reading.index import content_sha256
from edgeprune.images.size import ImageSize, sides, size_of
from edgeprune.images.spec import Spec
from edgeprune.models.adapter import ModelAdapter, ModelInfo, Predict
from edgeprune.models.base import BaseAdapter
from edgeprune.models.fit import require_finite
from edgeprune.models.plain import plain_kind, read_plain, rebuild_plain, save_plain
from edgeprune.models.source import ModelSource
from edgeprune.records.scores import Accuracy

KIND = "onnx"


@dataclass(frozen=True)
class BareOnnx(BaseAdapter):
    """An adapter of one ONNX file.

    Attributes:
        input: how a picture becomes the network's input, at its one size.
        beside: digests of the files beside the ONNX file that hold weights of it.
    """

    input: Preprocess
    beside: tuple[str, ...] = ()

    PACKAGES = ("onnx", "onnxsim")

    def parts(self) -> Mapping[str, Any]:
        """Return what results depend on: how pictures go in, and weights beside the file."""
        return {"input": self.input.told(), "beside": list(self.beside)}

    def configure(self, source: ModelSource, recipe: Recipe) -> ModelAdapter:
        """Return the adapter of a file, see the function of that name."""
        return configure(source, recipe)

    def recognise(self, path: Path) -> bool:
        """Tell whether a file is an ONNX file by its name, or a checkpoint that was made of one."""
        return path.suffix.lower() == ".onnx" or plain_kind(path) == KIND

    def load(self, path: Path, trust: bool = False) -> Network:
        """Load an ONNX file, or a checkpoint of a network that came from one, as a torch network.

        Raises:
            ModelError: it cannot be read, or holds NaN or infinite weights.
        """
        if path.suffix.lower() != ".onnx":
            return _of_checkpoint(path)
        network = load_onnx(path, self.input.imgsz)
        require_finite(network, path)
        metadata = metadata_of(read_onnx(path))
        with torch.no_grad():
            shapes = [tuple(output.shape) for output in network(torch.zeros(self.input.shape))]
        post = postprocess_of(path, metadata, shapes, ends_normed(network.plan))
        spec = Spec(preprocess=self.input, postprocess=post)
        network.told |= {"family": path.stem, "stride": stride_of(metadata), "spec": spec.told()}
        return network

    def save(self, model: nn.Module, path: Path) -> None:
        """Save a network, also a pruned one, as plain data."""
        assert isinstance(model, Network)
        told = {"plan": model.plan.model_dump(mode="json"), "told": model.told}
        save_plain(path, KIND, told, model, Network(model.plan, model.told))

    def info(self, model: nn.Module) -> ModelInfo:
        """Describe a network by what its file told."""
        assert isinstance(model, Network)
        spec = _spec(model, self.input)
        return ModelInfo(
            task=spec.postprocess.task,
            family=str(model.told["family"]),
            names=spec.postprocess.names,
            stride=int(model.told["stride"]),
            imgsz=size_of(*model.told["imgsz"]),
            metric=agreement.metric_of(spec.postprocess),
            postprocess=spec.postprocess,
            outputs=tuple(model.told["outputs"]),
        )

    def preprocess(self, imgsz: ImageSize) -> Preprocess:
        """Return how a picture becomes the input.

        Raises:
            ConfigError: another size than the network was read for is asked for.
        """
        if imgsz != self.input.imgsz:
            own, asked = ("x".join(map(str, sides(size))) for size in (self.input.imgsz, imgsz))
            raise ConfigError(f"imgsz: the network of this ONNX file was read for {own} pixels, not {asked}")
        return self.input

    def exportable(self, model: nn.Module, end2end: bool = True) -> nn.Module:
        """Return a copy whose modules lie side by side, so that exported nodes have the layers' names."""
        twin = super().exportable(model)
        assert isinstance(twin, Network)
        return Flat(twin).eval()

    def dataset(self, path: Path, info: ModelInfo) -> Dataset:
        """List the pictures of a folder or a `data.yaml`; labels are not looked at."""
        return load_pictures(path, info.names)

    def evaluate(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> Accuracy:
        """Say that the original judges; see `configure`."""
        raise ModelError("a bare ONNX file is judged by its original alone")

    def float_nodes(self, names: Sequence[str]) -> list[str]:
        """Return the nodes of the decode: what follows the last layers, by its place in the graph's names."""
        return [name for name in names if name.startswith(DECODE)]


def configure(source: ModelSource, recipe: Recipe) -> ModelAdapter:
    """Return the adapter of an ONNX file, which is judged and taught by the original alone.

    Raises:
        ModelError: the file is damaged, or takes no image.
        ConfigError: neither the file nor the recipe tells how a picture becomes the input, or its size.
    """
    path = source.file
    if path.suffix.lower() != ".onnx":
        own = _spec(_of_checkpoint(path), None).preprocess
        if recipe.input.is_given:
            raise ConfigError(f"input: {path} tells itself how an image becomes its input; leave this out")
        return Unlabelled(BareOnnx(own), path)
    model = read_onnx(path)
    metadata = metadata_of(model)
    imgsz = size_of_input(given_input(model, path), recipe.imgsz or told_size(metadata), path)
    beside = tuple(content_sha256(file) for file in external_files(path))
    return Unlabelled(BareOnnx(preprocess_of(path, metadata, recipe.input, imgsz), beside), path)


def _of_checkpoint(path: Path) -> Network:
    found = read_plain(path)
    plan = validate(Plan, found.told.get("plan"), str(path), ModelError)
    told = found.told.get("told")
    if not isinstance(told, dict):
        raise ModelError(f"{path}: damaged: what it tells of the network is missing")
    model = rebuild_plain(found, Network(plan, told), path)
    assert isinstance(model, Network)
    return model


def _spec(model: Network, given: Preprocess | None) -> Spec:
    """Return what a network tells of its input and outputs; `given` goes before what it tells itself."""
    spec = validate(Spec, model.told.get("spec"), "the network", ModelError)
    return spec if given is None else spec.model_copy(update={"preprocess": given})


ADAPTER = BareOnnx(Preprocess(320))
"""Recognises files, and makes the adapter of one; what it says of an input is not yet any file's."""
