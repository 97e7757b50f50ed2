"""What the stages of one build share: the request, the data, the facts, rows before they are judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeprune.artifact import Artifact, Store
from edgeprune.dataset import Dataset
from edgeprune.device import DeviceProfile
from edgeprune.models import ModelAdapter, ModelInfo
from edgeprune.preprocess import Preprocess
from edgeprune.recipe import Recipe
from edgeprune.summary import Accuracy, Guard, Variant, variant_name

SELECTION_SPLIT = "val"

Notify = Callable[[str, float, str], None]
"""Called with the stage, the share of it that is done in [0, 1], and a few words."""


@dataclass(frozen=True)
class BuildRequest:
    """What a build is asked for.

    Attributes:
        command: the command line, for the report's "how to reproduce".
        adapter: name of the kind of model; None takes the one of what the checkpoint holds.
        smaller: trained checkpoint of a smaller model of the family, to compare pruning with.
        trust: unpickle the checkpoint without the allow-list.
    """

    model: Path
    data: Path
    targets: tuple[DeviceProfile, ...]
    recipe: Recipe
    out: Path
    command: str
    adapter: str | None = None
    trust: bool = False
    smaller: Path | None = None


@dataclass(frozen=True)
class Build:
    """What every stage of one build sees."""

    request: BuildRequest
    store: Store
    adapter: ModelAdapter
    notify: Notify
    dataset: Dataset
    info: ModelInfo
    spec: Preprocess
    versions: dict[str, str]

    @property
    def recipe(self) -> Recipe:
        """The request's recipe."""
        return self.request.recipe

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that accuracy is measured on: the one the choice is made on, and the reported one."""
        return tuple(dict.fromkeys((SELECTION_SPLIT, self.dataset.report_split)))

    def at(self, imgsz: int) -> Build:
        """Return the same build at another input size, in pixels."""
        return replace(self, spec=replace(self.spec, imgsz=imgsz))

    def calibration_images(self) -> tuple[Path, ...]:
        """Return the calibration images: drawn by the recipe's seed, the same for every scheme."""
        settings = self.recipe.quantize
        return self.dataset.sample(settings.split, settings.images, self.recipe.seed)

    def using(self, *packages: str) -> dict[str, str]:
        """Return the versions of edgeprune and of `packages`, for the key of a stage."""
        return {name: self.versions.get(name, "absent") for name in ("edgeprune", *packages)}


@dataclass(frozen=True)
class Candidate:
    """One row before it is measured."""

    profile: DeviceProfile
    variant: Variant
    imgsz: int
    precision: str
    artifact: Artifact
    accuracy: dict[str, Accuracy]
    quantized_ops: int | None = None
    reference: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    guard: Guard | None = None

    @property
    def name(self) -> str:
        """Unique name of the row, as `Row.label` has it."""
        return f"{self.profile.name} {variant_name(self.variant, self.imgsz)} {self.precision}"
