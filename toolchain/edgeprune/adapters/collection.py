"""Classifiers that a library makes by name, such as torchvision's: their weights, input and checkpoints.

A network is told by its architecture and its number of classes. The weights come as people have them: a file
of weights alone, a training checkpoint, safetensors, or what edgeprune wrote. Nothing is downloaded.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from torch import nn

from edgeprune.adapters.classifier import METRIC, Classifier
from edgeprune.core.documents import read_json, validate
from edgeprune.core.errors import ConfigError, ModelError, RuntimeMissingError
from edgeprune.core.extras import how_to_get
from edgeprune.core.files import open_regular
from edgeprune.images.postprocess import classifier
from edgeprune.images.preprocess import BICUBIC_CROP, CENTRE_CROP, Preprocess, Resize
from edgeprune.images.size import ImageSize
from edgeprune.models import ModelInfo
from edgeprune.models.fit import find_misfits, fit, name_misfits
from edgeprune.models.plain import plain_kind, read_plain, read_state, rebuild_plain, save_plain

if TYPE_CHECKING:
    from edgeprune.config.recipe import Recipe
    from edgeprune.models.source import ModelSource

State = Mapping[str, torch.Tensor]
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
_CONFIG = "config.json"
_Kind = TypeVar("_Kind", bound="Collection")


@dataclass(frozen=True)
class InputOf:
    """The input that a network was published with.

    Attributes:
        imgsz: side in pixels.
        crop: share of the scaled short side that is cut out.
    """

    imgsz: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: float = 1.0
    bicubic: bool = False

    def at(self, imgsz: ImageSize) -> Preprocess:
        """Return how an image becomes such an input, of a size in pixels."""
        resize: Resize = BICUBIC_CROP if self.bicubic else CENTRE_CROP
        return Preprocess(imgsz, pad=None, resize=resize, mean=self.mean, std=self.std, crop=self.crop)


@dataclass(frozen=True)
class Collection(Classifier):
    """The adapter of a library's classifiers; `configure` tells it which one.

    Attributes:
        NAME: of the adapter, before the colon of ``torchvision:resnet18``.
        architecture: the name behind it; None before it is known.
        input: what the network takes: as its file tells, else as it was published.
    """

    NAME: ClassVar[str]
    architecture: str | None = None
    input: InputOf | None = None

    @abstractmethod
    def make(self, architecture: str, classes: int) -> nn.Module:
        """Return a network with fresh weights.

        Raises:
            ConfigError: the library has no such network.
        """

    @abstractmethod
    def published(self, architecture: str) -> InputOf:
        """Return the input that a network was published with."""

    def told_by(self, path: Path) -> tuple[str, InputOf | None] | None:
        """Return what a file or folder of this library says of its network and input; None of others."""
        return None

    def translate(self, state: State) -> State:
        """Return weights by the names of today's library, without those that only a training uses."""
        return state

    def configure(self: _Kind, source: ModelSource, recipe: Recipe) -> _Kind:
        """Return the adapter of one network.

        Raises:
            ConfigError: the library has no such network, none is named, or `input` is given beside it.
        """
        if recipe.input.is_given:
            raise ConfigError(
                f"input: {self.NAME} tells how an image becomes the input of its networks; leave it out"
            )
        path = source.file
        named: str | None
        told_input: InputOf | None
        if plain_kind(path) == self.NAME:
            told = read_plain(path).told
            named, told_input = _text(told, "architecture", path), _input(told, path)
        else:
            named, told_input = self.told_by(path) or (None, None)
        asked = source.architecture.partition(":")[2] if source.architecture else None
        if asked and named and asked != named:
            raise ConfigError(f"--model {source.architecture}: {path} says that it is a {named}")
        if not (asked or named):
            raise ConfigError(
                f"{path}: weights alone do not say what network they are of; name it, such as "
                f"--model {self.NAME}:resnet18 --weights {path.name}"
            )
        architecture = str(asked or named)
        return replace(self, architecture=architecture, input=told_input or self.published(architecture))

    def parts(self) -> Mapping[str, Any]:
        """Return the network's name: the same weights may fit two."""
        return {"architecture": self.architecture}

    def spec(self) -> InputOf:
        """Return the input of the chosen network."""
        return self.input or self.published(self.chosen())

    def chosen(self) -> str:
        """Return the name of the network."""
        if self.architecture is None:
            raise ConfigError(f"{self.NAME}: no network is named; write --model {self.NAME}:NAME")
        return self.architecture

    def recognise(self, path: Path) -> bool:
        """Tell whether a file is of this library and says of which network."""
        return plain_kind(path) == self.NAME or self.told_by(path) is not None

    def load(self, path: Path, trust: bool = False) -> nn.Module:
        """Load weights, or a checkpoint of edgeprune's; nothing in a file is run, trusted or not.

        Raises:
            ModelError: the weights are not this network's: what does not fit is named.
        """
        architecture = self.chosen()
        if plain_kind(path) == self.NAME:
            found = read_plain(path)
            classes, names = found.told.get("classes"), found.told.get("names")
            if not isinstance(classes, int) or not 0 < classes <= 100_000:
                raise ModelError(f"{path}: damaged: it tells no number of classes")
            model = rebuild_plain(found, self.make(architecture, classes), path)
            return _labelled(model, names if _are_names(names, classes) else None)
        state = self.translate(_without_prefix(read_weights(path)))
        model = self.make(architecture, self._classes(state, path))
        if misfits := find_misfits(model, state):
            raise ModelError(
                f"{path}: the weights do not fit {self.NAME}:{architecture}: {name_misfits(misfits)}"
            )
        fit(model, state, path)  # `load_state_dict` of some networks asks for more than weights
        return _labelled(model.float().eval().requires_grad_(True), _names_beside(path))

    def save(self, model: nn.Module, path: Path) -> None:
        """Save a network, also a pruned one, as plain data with its architecture, classes and input."""
        info, spec = self.info(model), self.spec()
        told = {
            "architecture": self.chosen(),
            "classes": len(info.names),
            "names": list(info.names) if info.is_named else None,
            "input": {**asdict(spec), "mean": list(spec.mean), "std": list(spec.std)},
        }
        save_plain(path, self.NAME, told, model, self.make(self.chosen(), len(info.names)))

    def info(self, model: nn.Module) -> ModelInfo:
        """Describe a loaded network; where nothing names its classes, they are the data's."""
        told: Any = getattr(model, "names", None)
        count = int(getattr(model, "classes"))  # noqa: B009  # set by `load`
        names = tuple(told) if told else tuple(f"class_{index}" for index in range(count))
        return ModelInfo(
            task="classify",
            family=self.chosen(),
            names=names,
            stride=1,
            imgsz=self.spec().imgsz,
            metric=METRIC,
            postprocess=classifier(names, activated=False),
            is_named=bool(told),
        )

    def preprocess(self, imgsz: ImageSize) -> Preprocess:
        """Return how an image becomes the input, as the library's own transform for evaluation does it."""
        return self.spec().at(imgsz)

    def _classes(self, state: State, path: Path) -> int:
        """Return the number of classes: the rows of the layer whose shape depends on it."""
        few, more = (self.make(self.chosen(), count).state_dict() for count in (2, 3))
        for name, tensor in few.items():
            if tensor.shape != more[name].shape and name in state and state[name].dim():
                return int(state[name].shape[0])
        last = next((name for name, one in few.items() if one.shape != more[name].shape), "its last layer")
        raise ModelError(
            f"{path}: the weights do not fit {self.NAME}:{self.chosen()}: {last} is missing; "
            f"{len(set(few) & set(state))} of its {len(few)} names are there"
        )


def read_weights(path: Path) -> State:
    """Read weights by name: a file of torch's, of safetensors, or a folder with `model.safetensors`.

    Raises:
        ModelError: it holds something else.
    """
    if path.is_dir():
        place = path / "model.safetensors"
        path = place if place.is_file() else path / "pytorch_model.bin"
    if path.suffix != ".safetensors":
        return read_state(path)
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as exc:
        raise RuntimeMissingError(
            f"{path}: to read it takes safetensors, not installed here: {how_to_get('timm')}"
        ) from exc
    try:
        with open_regular(path, ModelError):
            return load_file(path)
    except (SafetensorError, OSError) as exc:
        raise ModelError(f"{path}: cannot be read as safetensors: {exc}") from exc


def read_config(path: Path) -> Mapping[str, Any] | None:
    """Return the `config.json` of a model's folder; None where there is none."""
    place = path / _CONFIG
    if not place.is_file():
        return None
    found = read_json(place, ModelError)
    return found if isinstance(found, dict) else None


def _labelled(model: nn.Module, names: Any) -> nn.Module:
    told: Any = model
    told.names = list(names) if names else None
    return model


def _are_names(names: Any, count: int) -> bool:
    return isinstance(names, list) and len(names) == count and all(isinstance(name, str) for name in names)


def _names_beside(path: Path) -> list[str] | None:
    config = read_config(path) if path.is_dir() else None
    names = (config or {}).get("label_names")
    return names if isinstance(names, list) and _are_names(names, len(names)) else None


def _without_prefix(state: State) -> State:
    for prefix in _PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _text(told: Mapping[str, Any], key: str, path: Path) -> str:
    if not isinstance(told.get(key), str):
        raise ModelError(f"{path}: damaged: it tells no {key}")
    return str(told[key])


def _input(told: Mapping[str, Any], path: Path) -> InputOf:
    return validate(InputOf, told.get("input"), f"{path}: its input", ModelError)
