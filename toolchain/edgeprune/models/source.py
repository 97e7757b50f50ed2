"""What the user says of a model, and the adapter that follows from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from edgeprune.core.artifact import content_key, digest
from edgeprune.core.errors import ConfigError, did_you_mean
from edgeprune.models import adapter_of, get_adapter
from edgeprune.models.adapter import ModelAdapter

if TYPE_CHECKING:
    from edgeprune.config.recipe import Recipe

OWN = "edgeprune.adapters.own"
"""The module whose `load_own` makes an adapter of a user's Python file."""
ARCHITECTURES = ("torchvision", "timm")
"""Collections of networks, each an adapter of that name: ``torchvision:resnet18`` names one of theirs."""


@dataclass(frozen=True)
class ModelSource:
    """What the user says of a model.

    Attributes:
        file: a checkpoint, or the weights of an architecture.
        architecture: of a collection, such as ``torchvision:resnet18``; None where the file tells.
        adapter: name of a kind of model, or a Python file of the user's; None takes what recognises the file.
        metric: ``FILE.py:FUNCTION``, a figure of the user's own that judges instead of the adapter's.
    """

    file: Path
    architecture: str | None = None
    adapter: str | None = None
    metric: str | None = None

    @property
    def notices(self) -> tuple[str, ...]:
        """What is said before code of the user's own is run: files that are named as adapter and metric."""
        named = (self.adapter, self.metric and self.metric.rpartition(":")[0])
        files = (file for file in named if file and file.endswith(".py"))
        return tuple(f"running {file}, which is your own code" for file in files)

    def __str__(self) -> str:
        """Return it as messages name it."""
        return f"{self.architecture} ({self.file})" if self.architecture else str(self.file)


@runtime_checkable
class Configurable(Protocol):
    """An adapter, or its module, that takes what the user says beside the file."""

    def configure(self, source: ModelSource, recipe: Recipe) -> ModelAdapter:
        """Return the adapter for a source: with its architecture, and the recipe's `input`.

        Raises:
            ConfigError: the kind of model has no such architecture, or takes no such input.
        """
        ...


@runtime_checkable
class Limited(Protocol):
    """An adapter that has not every training, and says so before any work is done."""

    def require_trainings(self, recipe: Recipe) -> None:
        """Hold what a recipe asks for against the trainings that there are.

        Raises:
            ConfigError: it asks for one that this kind of model does not have.
        """
        ...


Wrapper = Callable[[ModelAdapter, ModelSource, "Recipe"], ModelAdapter]
"""Makes an adapter of another one, which it asks for all that it does not answer itself."""

_WRAPPERS: Mapping[str, Callable[[ModelSource, Recipe], bool]] = {
    "edgeprune.adapters.unlabelled": lambda source, recipe: not recipe.finetune.labels,
    "edgeprune.adapters.judged": lambda source, recipe: source.metric is not None,
}
"""Modules with a function `wrap`, and when each is asked; later ones around earlier ones."""


def choose_adapter(source: ModelSource, recipe: Recipe) -> ModelAdapter:
    """Return the adapter of a model as the user describes it.

    Code of the user runs only where it is named: a Python file as `adapter` or in `metric`.

    Raises:
        ConfigError: there is no such adapter or architecture, or it takes no such setting or training.
        ModelError: the file cannot be read.
    """
    adapter = _named(source)
    if isinstance(adapter, Configurable):
        adapter = adapter.configure(source, recipe)
    elif recipe.input.is_given:
        raise ConfigError(
            f"input: {source.file} tells itself how an image becomes its input; leave this section out"
        )
    for module, is_asked in _WRAPPERS.items():
        if is_asked(source, recipe):
            adapter = cast(Wrapper, import_module(module).wrap)(adapter, source, recipe)
    if isinstance(adapter, Limited):
        adapter.require_trainings(recipe)
    return adapter


def _named(source: ModelSource) -> ModelAdapter:
    if source.architecture:
        collection = source.architecture.partition(":")[0]
        if collection not in ARCHITECTURES:
            known = ", ".join(f"{name}:NAME" for name in ARCHITECTURES)
            hint = did_you_mean(collection, ARCHITECTURES)
            raise ConfigError(f"--model {source.architecture}: no such collection{hint}; there are {known}")
        return get_adapter(collection)
    if source.adapter is None:
        return adapter_of(source.file)
    if source.adapter.endswith(".py"):
        own: Any = import_module(OWN)
        return cast(ModelAdapter, own.load_own(Path(source.adapter)))
    return get_adapter(source.adapter)


def network_key(adapter: ModelAdapter, path: Path) -> str:
    """Return what tells one network from another: its file, and what its adapter depends on beside it.

    The same weights make another network with another architecture, or another version of a user's file.
    """
    parts = adapter.parts()
    return content_key({"file": digest(path), "adapter": dict(parts)}) if parts else digest(path)


def is_architecture(model: str) -> bool:
    """Tell whether what is given as a model names a network of a collection, and no file."""
    collection, colon, _ = model.partition(":")
    return bool(colon) and collection.isidentifier() and len(collection) > 1 and not Path(model).exists()
