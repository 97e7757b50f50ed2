"""What a build reports: rows per target, the chosen one, the verdict. `summary.json` is this, nothing else.

Every number in a row was measured, or it is null. Reports, the gate and the terminal all read this one file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from edgeprune.artifact import write_text_atomically
from edgeprune.errors import NotComparableError

SCHEMA_VERSION: Final = 1
SUMMARY = "summary.json"
Variant = Literal["original", "pruned", "resized", "smaller"]
ALTERNATIVES: Final[tuple[Variant, ...]] = ("resized", "smaller")
"""What could be run instead of pruning: the original at a smaller input, a smaller model of the family.

Their rows are measured to be compared with, and are never chosen.
"""


def variant_name(variant: Variant, imgsz: int | None) -> str:
    """Return what a variant goes by, such as ``pruned`` or ``original 288 px``."""
    if variant not in ALTERNATIVES:
        return variant
    return f"{'original' if variant == 'resized' else variant} {imgsz} px"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Metric = Literal["mAP50-95", "top-1"]
"""What models are judged by: detectors by the first, classifiers by the share that is classified right."""
LENIENT: Final[dict[Metric, str]] = {"mAP50-95": "mAP50", "top-1": "top-5"}
"""What is shown beside each metric, and decides nothing."""
_KEYS: Final[dict[Metric, tuple[tuple[str, str], ...]]] = {
    "mAP50-95": (("score", "map50_95"), ("lenient", "map50")),
    "top-1": (("score", "top1"), ("lenient", "top5")),
}


class ScoredRecord(_Record):
    """A record with accuracies: `score...` is of its metric, `lenient...` of the one beside it.

    In JSON the keys name the metric instead: `map50_95...` and `map50...`, or `top1...` and `top5...`. Both
    forms are read.
    """

    metric: Metric = Field(default="mAP50-95", exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _from_metric_keys(cls, data: Any) -> Any:
        if not isinstance(data, dict):  # a record already
            return data
        found = dict(data)
        for metric, names in _KEYS.items():
            for name, key in names:
                for known in [known for known in found if key in known]:
                    found[known.replace(key, name)] = found.pop(known)
                    found["metric"] = metric
        return found

    @model_serializer(mode="wrap")
    def _to_metric_keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        for name, key in _KEYS[self.metric]:
            fields = {known.replace(name, key): value for known, value in fields.items()}
        return fields


class Accuracy(ScoredRecord):
    """Accuracy on one split.

    Attributes:
        drop: score of the original fp32 row of this target minus this one's; negative when this is better.
        per_class: by class name, mAP50-95 of a detector, the share classified right of a classifier.
    """

    split: str
    images: int
    lenient: float
    score: float
    drop: float | None = None
    per_class: dict[str, float] = {}


class AheadOfTime(_Record):
    """A file for TensorRT that TensorRT-RTX parsed and built on this machine, without a GPU.

    It proves the graph; neither int8 kernels, nor outputs, nor any latency on the device.

    Attributes:
        version: of TensorRT-RTX.
        capabilities: compute capabilities of the GPUs that it was built for, such as ``SM86``.
    """

    version: str
    capabilities: tuple[str, ...]


class LayerSensitivity(_Record):
    """What int8 in one layer costs and brings.

    Attributes:
        layer: name of its first ONNX node, a convolution as a rule.
        nodes: names of all its ONNX nodes.
        error: of the network's outputs when only this layer is int8, relative L2, mean over their channels.
        drop: of the score on val when only this layer is int8; null when its error is too small to matter.
        float_ms, int8_ms: of its nodes in the float and in the int8 engine; null when not measured here.
    """

    layer: str
    nodes: tuple[str, ...]
    error: float
    drop: float | None = None
    float_ms: float | None = None
    int8_ms: float | None = None

    @property
    def gained_ms(self) -> float | None:
        """Milliseconds that int8 saves in this layer; negative when it is slower."""
        if self.float_ms is None or self.int8_ms is None:
            return None
        return self.float_ms - self.int8_ms


class GuardTry(_Record):
    """One choice of layers in float that was built and evaluated.

    Attributes:
        floats: how many layers stay in float.
        predicted: sum of the drops of the others.
        drop: of the score on val, measured.
        lost_ms: that int8 would gain in the layers in float; null when layers are not timed.
    """

    floats: int
    predicted: float
    drop: float
    lost_ms: float | None = None


class Guard(ScoredRecord):
    """How the accuracy guard brought an int8 row back within the budget.

    Attributes:
        score_before, drop_before: of the row with every layer of its scheme in int8, on val.
        drop_after: of the row with some of them in float, on val.
        floats: layers that it left in float.
        layers: sensitivity of every layer, the greatest error first.
    """

    score_before: float
    drop_before: float
    drop_after: float
    floats: tuple[str, ...]
    tries: tuple[GuardTry, ...]
    layers: tuple[LayerSensitivity, ...]


class Row(ScoredRecord):
    """One variant at one precision on one target.

    Attributes:
        imgsz: side of the input in pixels; null is the build's own.
        p50_ms, p90_ms, fps, peak_mb: measured on the target; null if it was not there or samples are few.
        lenient, score, drop: on the reported split (`Summary.split`).
        speedup: p50 of the reference row (`Summary.reference`) over this row's p50.
        val: accuracy on the split that the choice is made on.
        quantized_ops: integer operators in the runtime's optimised graph.
        convolutions: of the model, which `quantized_ops` are a part of; null if they were not counted.
        environment: variables the runtime has to be started with for these numbers; chosen by measurement.
        guard: which layers the accuracy guard left in float; null when int8 kept to the budget by itself.
        refused: why this row may not be chosen, one sentence each; empty when it may.
        ahead_of_time: build without the device that proves the file; null where none was made.
        artifact, bench: paths relative to the build folder.
    """

    target: str
    variant: Variant
    imgsz: int | None = None
    precision: str
    runtime: str
    runtime_version: str | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    fps: float | None = None
    peak_mb: float | None = None
    size_mb: float
    lenient: float | None = None
    score: float | None = None
    drop: float | None = None
    speedup: float | None = None
    val: Accuracy | None = None
    per_class: dict[str, float] = {}
    quantized_ops: int | None = None
    convolutions: int | None = None
    environment: dict[str, str] = {}
    ahead_of_time: AheadOfTime | None = None
    guard: Guard | None = None
    flags: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    artifact: str
    sha256: str
    bench: str | None = None

    @property
    def name(self) -> str:
        """What the variant of the row goes by, see `variant_name`."""
        return variant_name(self.variant, self.imgsz)

    @property
    def label(self) -> str:
        """Short name of the row, such as ``x86-openvino pruned int8``."""
        return f"{self.target} {self.name} {self.precision}"


class LayerWidth(_Record):
    """Output channels of one convolution before and after pruning."""

    layer: str
    before: int
    after: int
    prunable: bool = True


GAMMA_QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
SMALL_GAMMA: Final = 0.01
"""A batch-norm scale below this passes next to nothing on."""


class SparseEpoch(ScoredRecord):
    """The batch-norm scales of the prunable channels after one epoch of sparse training.

    Attributes:
        epoch: from 1; 0 is before the training.
        strength: of the regulariser in this epoch; null before the training.
        quantiles: of the absolute scales, at `GAMMA_QUANTILES`.
        share_small: share of the absolute scales below `SMALL_GAMMA`.
        score: of the averaged weights on val, as the trainer measured it.
    """

    epoch: int
    strength: float | None
    quantiles: tuple[float, ...]
    share_small: float
    score: float | None


class SparseTraining(_Record):
    """Training with a regulariser before the cut: `sparse.json` is this."""

    criterion: str
    strength: float
    epochs: tuple[SparseEpoch, ...]


PassName = Literal["depth", "rewrite", "activation"]


class PassReport(ScoredRecord):
    """What a pass before width pruning changed, and what it left for being no faster or too costly.

    Attributes:
        applied: what was changed, one phrase each; empty when the pass was undone.
        refused: what was not, and why, one sentence each.
        ms_before, ms_after: on the target, measured; null when the target is not measured here.
        score_before, score_after: on val, before any training; null when nothing was tried.
    """

    name: PassName
    applied: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    ms_before: float | None = None
    ms_after: float | None = None
    score_before: float | None = None
    score_after: float | None = None


class Iteration(ScoredRecord):
    """One cut on the way to a latency.

    Attributes:
        goal_ms: what was aimed at; the table is asked for less where it was too hopeful before.
        predicted_before_ms, predicted_ms: what the table says of the widths before the cut and after it.
        before_ms, measured_ms: p50 of the model before the cut and after it, measured in pairs.
        change: median of (time after / time before) - 1 over the pairs.
        score: on val, after the short recovery; null without one.
        refused: why the cut was not kept; empty when it was.
    """

    goal_ms: float
    predicted_before_ms: float
    predicted_ms: float
    before_ms: float
    measured_ms: float
    change: float
    score: float | None = None
    refused: str = ""


class Pruning(ScoredRecord):
    """What surgery and recovery did to the network."""

    criterion: str
    goal: str
    ratio: float
    step: int
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    score_after_surgery: float | None = None
    score_after_recovery: float | None = None
    layers: tuple[LayerWidth, ...] = ()
    sparse: SparseTraining | None = None
    iterations: tuple[Iteration, ...] = ()
    passes: tuple[PassReport, ...] = ()


class ExportCheck(_Record):
    """Largest difference between the ONNX file and torch on real images; a classifier has no boxes."""

    variant: Variant
    imgsz: int | None = None
    images: int
    box_px: float | None = None
    score: float

    @property
    def name(self) -> str:
        """What the variant goes by, see `variant_name`."""
        return variant_name(self.variant, self.imgsz)


WarningCode = Literal[
    "int8_slower", "accuracy_collapse", "no_effect", "fallback", "pruned_slower", "unfit_run"
]


class SanityWarning(_Record):
    """Something that is wrong with a build although every stage succeeded; fails it under ``--strict``.

    Attributes:
        rows: labels of the rows it is about, first the one that is warned of.
        text: one sentence with the numbers that were measured.
        advice: what to do.
    """

    code: WarningCode
    rows: tuple[str, ...]
    text: str
    advice: str


class TargetSummary(_Record):
    """One target of a build: its rows, what was chosen on it, and what still has to be done on the device.

    Attributes:
        comparison: whether pruning is worth it beside the alternatives; null when none were asked for.
    """

    rows: tuple[Row, ...]
    chosen: Row | None
    verdict: str
    comparison: str | None = None
    split: str
    pruning: Pruning | None = None
    on_device: tuple[str, ...] = ()


class Calibration(_Record):
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


class Summary(_Record):
    """The whole build.

    Attributes:
        split: the split whose accuracy the rows report; ``selection_split`` is the one the choice is made on.
        reference: label of the row that every `speedup` is relative to.
        nearest_miss: when nothing was chosen, the row that came nearest and what it missed by.
        warnings: what is wrong with the rows by themselves (`sanity.py`), whatever the budgets say.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    created_utc: str
    command: str
    model: dict[str, Any]
    data: dict[str, Any]
    imgsz: int
    split: str
    selection_split: str
    budget: dict[str, float | None]
    bench_profile: str
    threads: int
    targets: dict[str, TargetSummary]
    chosen: Row | None
    verdict: str
    reference: str | None
    nearest_miss: str | None = None
    warnings: tuple[SanityWarning, ...] = ()
    calibration: Calibration | None = None
    exports: tuple[ExportCheck, ...] = ()
    environment: dict[str, Any] = {}
    versions: dict[str, str] = {}
    seconds: dict[str, float] = {}

    def rows(self) -> tuple[Row, ...]:
        """Return the rows of all targets, in order."""
        return tuple(row for target in self.targets.values() for row in target.rows)

    @property
    def metric(self) -> Metric:
        """What the rows are judged by."""
        return next((row.metric for row in self.rows()), "mAP50-95")


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
        return Summary.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise NotComparableError(f"{path}: no finished build is here: {exc.strerror}") from exc
    except ValidationError as exc:
        where = ".".join(str(part) for part in exc.errors()[0]["loc"])
        raise NotComparableError(
            f"{path}: not a summary of schema version {SCHEMA_VERSION} ({where})"
        ) from exc
