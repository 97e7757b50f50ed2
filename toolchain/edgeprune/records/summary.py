"""What a build reports: rows per target, the chosen one, the verdict. `summary.json` is this, nothing else.

Every number in a row was measured, or it is null. Reports, the gate and the terminal all read this one file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from edgeprune.config.targets import (
    DeviceProfile,
    Variables,
    load_profile,
    own_folder,
    resolve_targets,
    target_files,
)
from edgeprune.core.artifact import SUMMARY, Built
from edgeprune.core.documents import parse_record
from edgeprune.core.errors import ConfigError, NotComparableError
from edgeprune.core.files import read_bytes, to_text, write_text_atomically
from edgeprune.images.reading.notes import Note, NoteCode
from edgeprune.images.size import ImageSize, size_words
from edgeprune.records.pruning import Pruning
from edgeprune.records.resampling.interval import Interval
from edgeprune.records.scores import Accuracy, MetricName, Record, ScoredRecord
from edgeprune.records.sensitivity import Guard
from edgeprune.records.speedup import DISTURBING, Speedup

SCHEMA_VERSION: Final = 2
Variant = Literal["original", "pruned", "resized", "smaller"]
ALTERNATIVES: Final[tuple[Variant, ...]] = ("resized", "smaller")
"""What could be run instead of pruning: the original at a smaller input, a smaller model of the family.

Their rows are measured to be compared with, and are never chosen.
"""


def _require_inner(name: str) -> str:
    """Return a relative path that does not lead out of its folder by itself; links in it are for `inside`."""
    if "\0" in name or "\\" in name or name.startswith("/") or ".." in name.split("/"):
        raise ValueError(f"{name!r} leads out of the build folder")
    return name


def _require_word(name: str) -> str:
    if not name or name.startswith(".") or any(sign in name for sign in "/\\\0\n"):
        raise ValueError(f"{name!r} is no name: it would be read as a path")
    return name


Inner = Annotated[str, AfterValidator(_require_inner)]
"""A path in the build folder."""
Word = Annotated[str, AfterValidator(_require_word)]
"""A name that becomes part of file names, and stands for a file that is shipped."""
Measured = Annotated[float, Field(gt=0)]
"""What was measured: nothing takes no time or memory."""


def variant_name(variant: Variant, imgsz: ImageSize | None, resized: bool = False) -> str:
    """Return what a variant goes by, such as ``pruned`` or ``original 288 px``.

    Args:
        resized: whether its input has another size than the build's own.
    """
    if variant not in ALTERNATIVES and not resized:
        return variant
    return f"{'original' if variant == 'resized' else variant} {size_words(imgsz or 0)}"


class AheadOfTime(Record):
    """A file for TensorRT that TensorRT-RTX parsed and built on this machine, without a GPU.

    It proves the graph; neither int8 kernels, nor outputs, nor any latency on the device.

    Attributes:
        version: of TensorRT-RTX.
        capabilities: compute capabilities of the GPUs that it was built for, such as ``SM86``.
    """

    version: str
    capabilities: tuple[str, ...]


class Placement(Record):
    """Where the operators of an engine run, as its compiler told.

    Attributes:
        processor: the accelerator, such as ``HTP``.
        taken: operators that it runs, of `operators` in all.
        left: how many of each kind it leaves to the CPU.
    """

    processor: str
    taken: int
    operators: int
    left: dict[str, int] = Field(default_factory=dict)

    def __str__(self) -> str:
        share = f"{self.processor} runs {self.taken} of {self.operators} operators"
        rest = ", ".join(f"{count} {kind}" for kind, count in self.left.items())
        return f"{share}; the CPU runs {rest}" if rest else share


class Row(ScoredRecord):
    """One variant at one precision on one target.

    Attributes:
        imgsz: size of the input in pixels; null is the build's own.
        resized: whether it is another size than the build's own.
        p50_ms, p90_ms, fps, peak_mb: measured on the target; null if it was not there or samples are few.
        score, others, drop, drop_interval: on the reported split (`Summary.split`), see `Accuracy`.
        speedup: how many times as fast as the reference row (`Summary.reference`): the estimate of `gain`; in
            files of before that was told, p50 of the reference over this row's.
        gain: the speed-up from the turns that both rows took, with its interval; it is not the ratio of the
            p50s, which others on the machine bend.
        val: accuracy on the split that the choice is made on.
        runtime_version: of the runtime that measured the row, on the device; null if none did.
        quantized_ops: integer operators in the runtime's optimised graph, on the target; null where only
            another machine could count them.
        convolutions: of the model, which `quantized_ops` are a part of; null if they were not counted.
        environment: variables the runtime has to be started with for these numbers; chosen by measurement.
        guard: which layers the accuracy guard left in float; null when int8 kept to the budget by itself.
        refused: why this row may not be chosen, one sentence each; empty when it may.
        ahead_of_time: build without the device that proves the file; null where none was made.
        placement: which operators the target's accelerator runs; null where its compiler does not tell.
        artifact, bench, evaluated: paths relative to the build folder; the last is the folder of the
            accuracies (`records/evaluated.py`).
        built: where the artifact was compiled; null where only the device can.
    """

    target: Word
    variant: Variant
    imgsz: ImageSize | None = None
    resized: bool = False
    precision: Word
    runtime: str
    runtime_version: str | None = None
    p50_ms: Measured | None = None
    p90_ms: Measured | None = None
    fps: Measured | None = None
    peak_mb: Measured | None = None
    size_mb: float
    score: float | None = None
    others: dict[MetricName, float] = Field(default_factory=dict)
    drop: float | None = None
    drop_interval: Interval | None = None
    speedup: Measured | None = None
    gain: Speedup | None = None
    val: Accuracy | None = None
    per_class: dict[str, float] = Field(default_factory=dict)
    quantized_ops: int | None = None
    convolutions: int | None = None
    environment: Variables = Field(default_factory=dict)
    ahead_of_time: AheadOfTime | None = None
    guard: Guard | None = None
    placement: Placement | None = None
    flags: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    artifact: Inner
    sha256: str
    built: Built | None = None
    bench: Inner | None = None
    evaluated: Inner | None = None

    @property
    def name(self) -> str:
        """What the variant of the row goes by, see `variant_name`."""
        return variant_name(self.variant, self.imgsz, self.resized)

    @property
    def over_reference(self) -> Speedup | None:
        """The speed-up over the reference, without an interval in older files."""
        return self.gain or (Speedup(times=self.speedup) if self.speedup else None)

    @property
    def optimism(self) -> float | None:
        """How much more the row loses on the reported split than on the one that the choice is made on."""
        if self.drop is None or self.val is None or self.val.drop is None:
            return None
        return self.drop - self.val.drop

    @property
    def disturbed_by(self) -> str:
        """The flags of `DISTURBING` that the run carries, such as ``contended``; empty for a calm one."""
        return ", ".join(flag for flag in self.flags if flag in DISTURBING)

    @property
    def label(self) -> str:
        """Short name of the row, such as ``x86-openvino pruned int8``."""
        return f"{self.target} {self.name} {self.precision}"


class ExportCheck(Record):
    """Largest difference between the ONNX file and torch on real images; a classifier has no boxes."""

    variant: Variant
    imgsz: ImageSize | None = None
    resized: bool = False
    images: int
    box_px: float | None = None
    score: float

    @property
    def name(self) -> str:
        """What the variant goes by, see `variant_name`."""
        return variant_name(self.variant, self.imgsz, self.resized)


WarningCode = Literal[
    "int8_slower", "accuracy_collapse", "no_effect", "fallback", "pruned_slower", "unfit_run", "few_images"
]


class SanityWarning(Record):
    """Something that is wrong with a build although every stage succeeded; fails it under ``--strict``.

    Attributes:
        rows: labels of the rows it is about, first the one that is warned of; empty where it is the data.
        text: one sentence with the numbers that were measured.
        advice: what to do.
    """

    code: WarningCode | NoteCode
    rows: tuple[str, ...] = ()
    text: str
    advice: str


def data_warnings(notes: Iterable[Note]) -> tuple[SanityWarning, ...]:
    """Return what was noted of a data set as warnings."""
    return tuple(SanityWarning(code=note.code, text=note.text, advice=note.advice) for note in notes)


class TargetSummary(Record):
    """One target of a build: its rows, what was chosen on it, and what still has to be done on the device.

    Attributes:
        profile: the target's, as the build read it; null in files of builds that did not keep it.
        comparison: whether pruning is worth it beside the alternatives; null when none were asked for.
    """

    profile: DeviceProfile | None = None
    rows: tuple[Row, ...]
    chosen: Row | None
    verdict: str
    comparison: str | None = None
    split: str
    pruning: Pruning | None = None
    on_device: tuple[str, ...] = ()


class Calibration(Record):
    """The calibration of the int8 artifacts; `calibration.json` beside each of them lists the images.

    Attributes:
        list_sha256: hash of the images' paths; `images_sha256` is that of their contents.
        select, method: as in `recipe.QuantizeRecipe`; null in files of builds that did not record them.
    """

    images: int
    seed: int
    split: str
    list_sha256: str
    images_sha256: str | None = None
    select: str | None = None
    method: str | None = None


class Summary(Record):
    """The whole build.

    Attributes:
        batch: images that the engines take at once: latencies are of all of them, `fps` counts each.
        split: the split whose accuracy the rows report; ``selection_split`` is the one the choice is made on.
        reference: label of the row that every `speedup` is relative to.
        optimism: drop of the chosen row on `split` minus that on `selection_split`; null where these are one,
            or a drop is not known. The intervals of both are in the row.
        tied: labels of the allowed rows that were not told apart in speed from the chosen one.
        nearest_miss: when nothing was chosen, the row that came nearest and what it missed by.
        unjudged: budgets whose number was not measured, where no row was chosen for want of that.
        warnings: what is wrong with the rows by themselves (`pipeline/sanity.py`), whatever the budgets say.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    created_utc: str
    command: str
    model: dict[str, Any]
    data: dict[str, Any]
    imgsz: ImageSize
    batch: int = 1
    split: str
    selection_split: str
    budget: dict[str, bool | float | None]
    bench_profile: str
    threads: int
    targets: dict[str, TargetSummary]
    chosen: Row | None
    verdict: str
    reference: str | None
    optimism: float | None = None
    tied: tuple[str, ...] = ()
    nearest_miss: str | None = None
    unjudged: tuple[str, ...] = ()
    warnings: tuple[SanityWarning, ...] = ()
    calibration: Calibration | None = None
    exports: tuple[ExportCheck, ...] = ()
    environment: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _of_schema_1(cls, data: Any) -> Any:
        """Take a file of schema version 1 for one of today: its records say themselves what they lack."""
        of_1 = isinstance(data, dict) and data.get("schema_version") == 1
        return data | {"schema_version": SCHEMA_VERSION} if of_1 else data

    @model_validator(mode="after")
    def _agrees(self) -> Summary:
        """Refuse rows that stand under another target than their own, and a chosen one of no target."""
        if not self.targets:
            raise ValueError("targets: at least one is expected")
        for name, target in self.targets.items():
            if target.profile and target.profile.name != name:
                raise ValueError(
                    f"targets.{name}: the profile of another target stands here: {target.profile.name!r}"
                )
            rows = (*target.rows, *filter(None, [target.chosen]))
            if strange := next((row.target for row in rows if row.target != name), None):
                raise ValueError(f"targets.{name}: a row of another target stands here: {strange!r}")
        if self.chosen and self.chosen.target not in self.targets:
            raise ValueError(f"chosen: its target {self.chosen.target!r} is not one of the build")
        return self

    def rows(self) -> tuple[Row, ...]:
        """Return the rows of all targets, in order."""
        return tuple(row for target in self.targets.values() for row in target.rows)

    def profile_of(self, target: str) -> DeviceProfile:
        """Return the profile of one of the build's targets: the one that it was built for.

        Raises:
            ConfigError: the build did not keep it and none of its name is here, or it tells the runtime to
                read or write files: that is taken only from a profile of the user's own, never from a build.
        """
        kept = self.targets[target].profile
        if kept is None:
            return resolve_targets((target,))[0]
        if kept.names_path is None:
            return kept
        here = target_files().get(target)
        if here and (own := load_profile(here)).traits == kept.traits:
            return own
        raise ConfigError(
            f"{target}: its option {kept.names_path!r} names a file, which is not taken from a build: put "
            f"its profile into {own_folder() or 'your configuration folder'}"
        )

    @property
    def metric(self) -> str:
        """What the rows are judged by."""
        return next((row.metric for row in self.rows()), "accuracy")

    @property
    def other_metrics(self) -> tuple[str, ...]:
        """Names of the metrics that the rows have beside it."""
        return tuple(dict.fromkeys(name for row in self.rows() for name in row.others))


def save_summary(summary: Summary, folder: Path) -> Path:
    """Write `summary.json` into the build folder, atomically."""
    path = folder / SUMMARY
    write_text_atomically(path, summary.model_dump_json(indent=1) + "\n")
    return path


def load_summary(folder: Path) -> Summary:
    """Read the summary of a build folder.

    Raises:
        NotComparableError: there is none, or it was written by another schema version.
    """
    path = folder / SUMMARY
    try:
        content = read_bytes(path, NotComparableError)
    except NotComparableError as exc:
        said = str(exc).removeprefix(f"{path}: cannot be read: ")
        raise NotComparableError(f"{path}: no finished build is here: {said}") from exc
    where = f"{path}: not a summary of schema version {SCHEMA_VERSION}"
    return parse_record(Summary, to_text(content, where, NotComparableError), where, NotComparableError)
