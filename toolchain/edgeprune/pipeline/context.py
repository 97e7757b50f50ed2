"""What the stages of one build share: the request, the data, the facts, how a stage is declared."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgeprune.backends import Backend, get_backend
from edgeprune.bench.testbed import Testbed
from edgeprune.config.recipe import Recipe
from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact, Built, Store
from edgeprune.core.documents import read_record
from edgeprune.core.errors import OutputError
from edgeprune.core.files import write_text_atomically
from edgeprune.images.batches import in_batches
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess
from edgeprune.images.size import ImageSize
from edgeprune.models import ModelAdapter, ModelInfo, Predict
from edgeprune.models.source import ModelSource
from edgeprune.records.scores import Accuracy
from edgeprune.records.sensitivity import Guard
from edgeprune.records.summary import AheadOfTime, Placement, Variant, variant_name
from edgeprune.worker.sensors.cpu import read_model

if TYPE_CHECKING:
    from edgeprune.prune.stages import PruneContext

SELECTION_SPLIT = "val"
_BUILT = "built.json"
ABSENT = "absent"
"""What a key holds as the version of a package that is not installed."""

T = TypeVar("T")

Notify = Callable[[str, float, str], None]
"""Called with the stage, the share of it that is done in [0, 1], and a few words."""


@dataclass(frozen=True)
class BuildRequest:
    """What a build is asked for.

    Attributes:
        command: the command line, for the report's "how to reproduce".
        smaller: trained checkpoint of a smaller model of the family, to compare pruning with.
        trust: unpickle the checkpoint without the allow-list.
        skip_bad: leave out the images that cannot be used, instead of ending with them.
    """

    model: ModelSource
    data: Path
    targets: tuple[DeviceProfile, ...]
    recipe: Recipe
    out: Path
    command: str
    trust: bool = False
    smaller: Path | None = None
    skip_bad: bool = False


@dataclass(frozen=True)
class Build:
    """What every stage of one build sees.

    Attributes:
        version: returns the version of a package on this machine, None where it is not installed.
        testbed: the device that its targets are measured on.
        choosing: whether accuracy is measured only on the split that choices are made on.
        resized: whether the input has another size than the request's or the checkpoint's.
    """

    request: BuildRequest
    store: Store
    adapter: ModelAdapter
    notify: Notify
    dataset: Dataset
    info: ModelInfo
    spec: Preprocess
    version: Callable[[str], str | None]
    testbed: Testbed
    choosing: bool = False
    resized: bool = False

    @property
    def recipe(self) -> Recipe:
        """The request's recipe."""
        return self.request.recipe

    @property
    def pruning(self) -> PruneContext:
        """What a network of this build is pruned with."""
        from edgeprune.prune.stages import PruneContext

        return PruneContext(self.adapter, self.dataset, self.spec, self.recipe)

    def name_of(self, variant: Variant) -> str:
        """Return what a variant goes by at this build's input size."""
        return variant_name(variant, self.spec.imgsz, self.resized)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that accuracy is measured on: the one the choice is made on, and the reported one."""
        if self.choosing:
            return (SELECTION_SPLIT,)
        return tuple(dict.fromkeys((SELECTION_SPLIT, self.dataset.report_split)))

    def by(self, recipe: Recipe) -> Build:
        """Return the same build by another recipe."""
        return replace(self, request=replace(self.request, recipe=recipe))

    def at(self, imgsz: ImageSize) -> Build:
        """Return the same build at another input size, in pixels."""
        if imgsz == self.spec.imgsz:
            return self
        return replace(self, spec=replace(self.spec, imgsz=imgsz), resized=True)

    def on(self, profile: DeviceProfile) -> Build:
        """Return the same build as the target's runtime can run it: without an end-to-end head if need be."""
        if not self.info.end2end or get_backend(profile.backend).END2END:
            return self
        return replace(self, info=self.info.before_nms())

    def load(self, backend: Backend, engine: Path, precision: str, options: Mapping[str, str]) -> Predict:
        """Load an engine with the recipe's threads; whatever its batch, it takes any number of images."""
        session = backend.load(engine, precision, self.recipe.bench.threads, options)
        return in_batches(session, self.spec.batch)

    def network(self, path: Path, parent: Artifact | None = None) -> Artifact:
        """Describe a checkpoint by the network in it, so that what follows is keyed by what that is.

        Args:
            path: written by the adapter in a stage of this build.
            parent: what it was made from.
        """
        from edgeprune.models.identity import identity

        digest = identity(self.adapter.load(path))
        return Artifact(path, "torch", "fp32", digest, parent.sha256 if parent else None)

    def network_with(
        self, kind: type[T], file: str, parent: Artifact
    ) -> Callable[[Path], tuple[Artifact, T]]:
        """Return what reads a stage that made a checkpoint and a record of how."""
        record = reader_of(kind, file)
        return lambda place: (self.network(place / "model.pt", parent), record(place))

    def calibration_images(self) -> tuple[Path, ...]:
        """Return the calibration images: chosen as the recipe says, the same for every scheme and model."""
        from edgeprune.quantize.selection import choose_images

        settings = self.recipe.quantize
        spec = replace(self.spec, imgsz=0, batch=1)  # the choice is the same for any input
        parts = {
            "data": self.dataset.fingerprint(settings.split),
            "choice": settings.model_dump(include={"images", "split", "select"}),
            "seed": self.recipe.seed,
            "spec": spec.told(),
        }

        def make(out: Path) -> None:
            self.notify("quantize", 0.0, f"choosing calibration images ({settings.select})")
            images = choose_images(
                self.dataset, settings.split, settings.images, settings.select, self.recipe.seed, spec
            )
            of_split = {image: index for index, image in enumerate(self.dataset.images[settings.split])}
            write_text_atomically(out / "images.json", json.dumps([of_split[image] for image in images]))

        read = reader_of(tuple[int, ...], "images.json")
        picked = self.stage("calibration-images", parts, make, read)
        return tuple(self.dataset.images[settings.split][index] for index in picked)

    def stage(
        self,
        name: str,
        parts: Mapping[str, Any],
        make: Callable[[Path], None],
        read: Callable[[Path], T],
        *,
        uses: Sequence[str] = (),
        times: Sequence[str] = (),
    ) -> T:
        """Return what a stage made: from the store where it is there, else made now.

        Its key holds, beside `parts`, the version of edgeprune and of all that makes the result: packages on
        this machine, runtimes on the device where they run, and what the adapter itself depends on.

        Args:
            name: names the stage's folder.
            parts: all else that the result depends on, JSON-like.
            make: writes the stage's files into the folder that it is given.
            read: takes the folder of the whole stage.
            uses: packages of this machine, by distribution, see `of_runtime` and `of_model`.
            times: runtimes that the device runs, for a stage that measures there. What it measures is true
                only of that machine, so the key holds this as well.

        Raises:
            EdgepruneError: as `make` and `read` raised it.
        """
        inputs = {**parts, "versions": self.versions(uses)}
        if own := self.adapter.parts():
            inputs["adapter"] = dict(own)
        if times:
            bed = self.testbed
            there = {backend: bed.version(backend) or ABSENT for backend in sorted(times)}
            inputs |= {"machine": bed.machine, "device_versions": there}
        return read(self.store.stage(name, inputs, make))

    def versions(self, packages: Sequence[str]) -> dict[str, str]:
        """Return the versions of edgeprune and of packages on this machine, and note them for the summary."""
        found = {name: self.version(name) or ABSENT for name in ("edgeprune", *packages)}
        self.store.versions |= found
        return found

    @property
    def of_model(self) -> tuple[str, ...]:
        """The packages that load, train and evaluate the network."""
        return ("torch", *self.adapter.PACKAGES)

    @property
    def of_pruning(self) -> tuple[str, ...]:
        """The packages that cut the network's channels."""
        return ("torch-pruning", *self.of_model)

    @property
    def of_export(self) -> tuple[str, ...]:
        """The packages that turn the network into an ONNX file."""
        return ("onnx", "onnxsim", *self.of_model)

    def of_runtime(self, backend: str) -> tuple[str, ...]:
        """Return the packages of a runtime, for stages that compile or evaluate on this machine."""
        return get_backend(backend).PACKAGES


def reader_of(kind: type[T], file: str) -> Callable[[Path], T]:
    """Return what reads a record of a type from a file of a stage's folder."""
    return lambda place: read_record(kind, place / file, OutputError)


@dataclass(frozen=True)
class Candidate:
    """One row before it is measured."""

    profile: DeviceProfile
    variant: Variant
    imgsz: ImageSize
    precision: str
    artifact: Artifact
    accuracy: dict[str, Accuracy]
    quantized_ops: int | None = None
    reference: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    convolutions: int | None = None
    ahead_of_time: AheadOfTime | None = None
    guard: Guard | None = None
    placement: Placement | None = None
    evaluated: Path | None = None
    resized: bool = False

    @property
    def name(self) -> str:
        """Unique name of the row, as `Row.label` has it."""
        return f"{self.profile.name} {variant_name(self.variant, self.imgsz, self.resized)} {self.precision}"


@contextmanager
def building(backend: str, out: Path) -> Iterator[list[Built]]:
    """Keep in `out` where and how long a runtime compiles an engine: here, unless another is added."""
    started = time.perf_counter()
    elsewhere: list[Built] = []
    yield elsewhere
    built = Built(
        device=read_model(),
        arch=platform.machine(),
        runtime=f"{backend} {get_backend(backend).version()}",
        seconds=round(time.perf_counter() - started, 3),
    )
    write_text_atomically(out / _BUILT, json.dumps(asdict(elsewhere[0] if elsewhere else built)))


def built_in(place: Path) -> Built | None:
    """Return what `building` kept in a folder; None of one that was made before there was such an account."""
    path = place / _BUILT
    return read_record(Built, path, OutputError) if path.is_file() else None
