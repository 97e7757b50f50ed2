"""The recipe: what to do to a model. Every default of the toolchain lives here, in one validated frozen tree.

A recipe comes from a YAML file, from `--set key=value`, and from command-line options, later ones winning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from edgeprune.config.input_size import InputSize
from edgeprune.config.limits import LIMITS
from edgeprune.config.section import IS_NUMBER, Section
from edgeprune.config.targets import SchemeName
from edgeprune.core.documents import parse_yaml, read_mapping, validate
from edgeprune.core.errors import ConfigError

DEFAULT_RATIO = 0.4
"""Share of channels removed when no goal is given."""
GOALS = ("ratio", "latency_ms", "speedup", "macs")
"""Keys of `PruneRecipe` of which one says how much to prune."""

Criterion = Literal[
    "random", "l1", "l2", "fpgm", "lamp", "slim", "group_slim", "group_norm", "group_sl", "growing_reg",
    "taylor", "hessian", "obdc", "apoz", "combined",
]  # fmt: skip
Scope = Literal["global", "local", "isomorphic"]
Activation = Literal["auto", "keep", "relu", "relu6", "hardswish"]
RewriteKind = Literal["spatial", "channel", "tucker", "depthwise", "grouped"]
EmbedPart = Literal["scale", "nms"]
Share = Annotated[float, Field(ge=0, le=1), IS_NUMBER]


def within(name: str, default: float | None) -> Any:
    """Return a field with a default and the bounds of that name in `limits.LIMITS`."""
    return Field(default=default, **LIMITS[name].constraints())


class PruneRecipe(Section):
    """How much to prune, and which channels count as least important.

    Attributes:
        enabled: whether the pruned variants are built at all.
        ratio: share of channels to remove over the prunable groups, in [0, 1).
        latency_ms: instead of `ratio`: latency to prune to, by the latency table of the target in the
            precision that ships.
        speedup: instead of `ratio`: the original's latency in that table over the one to prune to.
        macs: instead of `ratio`: share of the multiply-accumulates to keep, in (0, 1).
        scope: ``global`` ranks all channels of the network together, ``isomorphic`` those of groups of one
            structure, ``local`` removes the same share everywhere.
        one_shot: reach a latency in one cut, without recovery in between.
        steps: in how many cuts the ratio or the share of `macs` is reached, each of the same share of what is
            left, with `step_epochs` of recovery between them.
        stride: share of the latency that an iteration takes away.
        step_epochs: epochs of recovery after each iteration; `finetune.epochs` follow the last one.
        floor: an iteration that leaves mAP50-95 (top-1 of a classifier) on val lower than this below the
            original's is rolled back.
        max_ratio: no group loses more than this share of its channels.
        skip: glob patterns of layer names that are never pruned.
        ratios: glob pattern of layer names -> a ratio of their own, the last pattern that fits winning.
        images: how many images of the train split a criterion sees that needs data.
        combine: shares of the weights' norm and the gradient's in the criterion ``combined``.
        depth: how many residual blocks to drop before width pruning, those first that cost least accuracy per
            millisecond gained; null leaves it to a cut to a latency, which then takes blocks or channels.
        rewrite: kinds of factorisation that convolutions may be rewritten by where the target gets faster.
        activation: what takes the place of SiLU; ``auto`` is ReLU where the target, measured here, is faster
            with it and the network is trained back, and SiLU elsewhere.
    """

    enabled: bool = True
    criterion: Criterion = "hessian"
    ratio: float | None = within("ratio", None)
    latency_ms: float | None = within("latency_ms", None)
    speedup: float | None = within("speedup", None)
    macs: float | None = within("macs", None)
    scope: Scope = "global"
    one_shot: bool = False
    steps: int = within("steps", 1)
    stride: float = within("stride", 0.08)
    step_epochs: int = within("some_epochs", 5)
    floor: float = within("max_drop", 0.05)
    max_ratio: float = within("max_ratio", 0.75)
    skip: tuple[str, ...] = ()
    ratios: dict[str, Share] = Field(default={})
    images: int = within("images", 64)
    combine: tuple[Share, Share] = (0.7, 0.3)
    depth: int | None = within("depth", None)
    rewrite: tuple[RewriteKind, ...] = ()
    activation: Activation = "auto"

    @property
    def goal(self) -> str | None:
        """Name of the goal that is given: one of `GOALS`, or None."""
        return next((name for name in GOALS if getattr(self, name) is not None), None)

    @model_validator(mode="after")
    def _one_goal(self) -> PruneRecipe:
        goals = [name for name in GOALS if getattr(self, name) is not None]
        if len(goals) > 1:
            raise ValueError(f"{' and '.join(goals)} are two goals: give one of {', '.join(GOALS)}")
        return self

    @model_validator(mode="after")
    def _within_bounds(self) -> PruneRecipe:
        for pattern, ratio in self.ratios.items():
            if ratio > self.max_ratio:
                raise ValueError(f"ratios: {ratio:g} for {pattern!r} is above max_ratio {self.max_ratio:g}")
        if not any(self.combine):
            raise ValueError("combine: one of the two shares has to be above 0")
        return self


Regularised = Literal["slim", "group_slim", "group_sl", "growing_reg"]
"""The criteria that read what training with their regulariser has left of a channel."""


class SparseRecipe(Section):
    """Training before the cut, with the regulariser of the criterion; all else is as in `FinetuneRecipe`.

    Attributes:
        epochs: 0 leaves it out: the criterion then scores the weights as they are.
        strength: of the regulariser in the first epoch; in the last one for ``growing_reg``.
    """

    epochs: int = within("epochs", 0)
    strength: float = within("strength", 0.01)


_Mean = Annotated[float, IS_NUMBER]
_Divisor = Annotated[float, Field(gt=0), IS_NUMBER]
Three = tuple[_Mean, _Mean, _Mean]
Divisors = tuple[_Divisor, _Divisor, _Divisor]


class InputRecipe(Section):
    """How an image becomes the input of a network whose file does not tell; null where the file tells.

    Attributes:
        colour: order of the planes.
        scale: factor on the 0-255 values.
        mean, std: what is taken off each plane after the scale, and what it is then divided by.
        resize: ``letterbox`` keeps the whole picture and pads it, ``crop`` cuts its centre out.
    """

    colour: Literal["RGB", "BGR"] | None = None
    scale: Annotated[float, Field(gt=0, le=1), IS_NUMBER] | None = None
    mean: Three | None = None
    std: Divisors | None = None
    resize: Literal["letterbox", "crop"] | None = None

    @property
    def is_given(self) -> bool:
        """Whether the user says anything of the input."""
        return self != InputRecipe()


class FinetuneRecipe(Section):
    """How the pruned model is trained back.

    Attributes:
        labels: whether the data's labels are used; without them the original alone teaches and judges.
        distill: whether the unpruned model teaches: a detector by its features (ultralytics >= 8.4), a
            classifier by its logits.
        temperature: what the logits of a classifier and its teacher are divided by before they are compared.
        mosaic: probability of that augmentation, for detectors.
        device: ``""`` lets ultralytics choose (the first GPU, else CPU); ``"0,1"`` trains on two GPUs by DDP.
    """

    labels: bool = True
    epochs: int = within("epochs", 60)
    batch: int = within("batch", 16)
    lr0: float = within("lr0", 0.001)
    optimizer: Literal["AdamW", "SGD"] = "AdamW"
    weight_decay: float = within("weight_decay", 0.01)
    mosaic: Share = 1.0
    distill: bool = True
    temperature: float = within("temperature", 4.0)
    patience: int = within("patience", 100)
    device: str = Field(default="", coerce_numbers_to_str=True, pattern=r"^(cpu|mps|(cuda:)?\d+(,\d+)*)?$")


class ExportRecipe(Section):
    """ONNX export and its check against torch.

    Attributes:
        check_images: how many real images the exported file is compared on.
        box_tolerance: largest allowed difference of a box coordinate, in pixels.
        score_tolerance: largest allowed difference of a class score.
        embed: what else `best/` gets a copy with inside the ONNX graph: ``scale`` (a letterboxed uint8 image
            goes in) and ``nms`` (detections come out).
    """

    opset: int = within("opset", 17)
    check_images: int = within("check_images", 8)
    box_tolerance: float = within("box_tolerance", 0.1)
    score_tolerance: float = within("score_tolerance", 1e-3)
    embed: tuple[EmbedPart, ...] = ()


CalibrationMethod = Literal["minmax", "entropy", "percentile", "mse"]
Selection = Literal["random", "diverse", "balanced"]


class QuantizeRecipe(Section):
    """Post-training quantization: which images activation ranges are read from, and how.

    Attributes:
        images: how many, from `split`.
        select: how they are chosen, see `edgeprune.quantize.selection`.
        method: how a range is read from what was seen, see `edgeprune.quantize.ranges`; null is the scheme's
            own way, which is ``minmax`` where it has a choice.
        equalise: rescale channels between convolutions where only ReLU is between them; Q/DQ schemes only.
        correct_bias: take off biases what rounding the weights adds on average; Q/DQ schemes only.
        guard: whether an int8 row that drops by more than `budget.max_drop` gets layers back in float.
        scheme: instead of the one of the target's profile.
        decode: whether the head's decode is int8 as well, as many tools do by default.
        aware_epochs: epochs of quantization-aware training that follow the pruned model's recovery.
    """

    images: int = within("images", 128)
    split: Literal["train", "val"] = "train"
    select: Selection = "random"
    method: CalibrationMethod | None = None
    equalise: bool = False
    correct_bias: bool = False
    guard: bool = True
    scheme: SchemeName | None = None
    decode: bool = False
    aware_epochs: int = within("epochs", 0)


SearchEffort = Literal["quick", "standard", "thorough"]


class SolveRecipe(Section):
    """The search for the fastest network within `budget.max_drop`, where no size is given.

    Attributes:
        effort: how many sizes are tried and how long they are trained, see `pipeline.solve.plan`.
        hours: what the search is planned for, and when it ends with what it has; null bounds nothing.
    """

    effort: SearchEffort = "standard"
    hours: float | None = within("hours", None)


BenchLength = Literal["quick", "standard"]


class BenchRecipe(Section):
    """The measurement: profile of the protocol and threads of the runtime.

    Attributes:
        compare: whether what could be run instead of pruning is built and measured as well.
    """

    profile: BenchLength = "standard"
    threads: int = within("threads", 1)
    compare: bool = False


class BudgetRecipe(Section):
    """What a chosen row has to keep to.

    Attributes:
        max_drop: largest loss of mAP50-95 (top-1 of a classifier) against the original fp32 model, absolute,
            on the val split.
        sure: whether the whole 95 % interval of that loss has to keep to it, not only what was measured.
        min_fps, max_latency_ms: also what is pruned to where no goal is given and the target is measured
            here, if the unpruned model is slower.
    """

    max_drop: float = within("max_drop", 0.01)
    sure: bool = False
    min_fps: float | None = within("fps", None)
    max_latency_ms: float | None = within("latency_ms", None)
    max_memory_mb: float | None = within("memory_mb", None)


class Recipe(Section):
    """Everything that is done to a model, with its defaults.

    Attributes:
        imgsz: side of the square input, or its height and width, such as ``384x640``; null is the
            checkpoint's own.
        batch: images that an engine takes at once, always so many; `finetune.batch` is another matter.
    """

    imgsz: InputSize | None = None
    batch: int = within("images_at_once", 1)
    seed: int = within("seed", 0)
    input: InputRecipe = InputRecipe()
    prune: PruneRecipe = PruneRecipe()
    solve: SolveRecipe = SolveRecipe()
    sparse: SparseRecipe = SparseRecipe()
    finetune: FinetuneRecipe = FinetuneRecipe()
    export: ExportRecipe = ExportRecipe()
    quantize: QuantizeRecipe = QuantizeRecipe()
    bench: BenchRecipe = BenchRecipe()
    budget: BudgetRecipe = BudgetRecipe()

    @property
    def solves(self) -> bool:
        """Whether the size of the pruned network is searched for: wherever nothing else tells it."""
        return not self._sized_by

    @property
    def _sized_by(self) -> str | None:
        """Name the key that tells the size of the pruned network, None where none does."""
        settings = self.prune
        told = {
            "prune.enabled: false": not settings.enabled,
            f"prune.{settings.goal}": settings.goal is not None,
            "prune.ratios": bool(settings.ratios),
            "prune.steps": settings.steps > 1,
            "sparse.epochs": self.sparse.epochs > 0,
        }
        return next((key for key, is_told in told.items() if is_told), None)

    @model_validator(mode="after")
    def _has_a_search(self) -> Recipe:
        if self.solve != SolveRecipe() and (key := self._sized_by):
            raise ValueError(f"solve: with {key} no size is searched for: leave out one of the two")
        return self

    @model_validator(mode="after")
    def _has_a_regulariser(self) -> Recipe:
        if self.sparse.epochs and self.prune.criterion not in get_args(Regularised):
            raise ValueError(
                f"sparse.epochs: criterion {self.prune.criterion!r} has no regulariser; "
                f"choose prune.criterion from {', '.join(get_args(Regularised))}, or set sparse.epochs to 0"
            )
        return self

    @model_validator(mode="after")
    def _has_a_model_to_train(self) -> Recipe:
        if self.quantize.aware_epochs and not self.prune.enabled:
            raise ValueError(
                "quantize.aware_epochs: only the pruned model is trained; for the same widths take "
                "prune.ratio=0 and prune.activation=keep instead of leaving pruning out"
            )
        return self


def load_recipe(path: Path | None = None, assignments: tuple[str, ...] = (), **options: Any) -> Recipe:
    """Build a recipe from a YAML file, `section.key=value` assignments and options, later ones winning.

    Args:
        path: recipe file, or None for the defaults.
        assignments: texts of the form ``prune.ratio=0.3``; the value is read as YAML.
        options: dotted keys with ``__`` for the dot (``prune__ratio=0.3``); None means not given.

    Raises:
        ConfigError: an unknown key or an impossible value, with file or option named.
    """
    tree = read_mapping(path, ConfigError) if path else {}
    for text in assignments:
        key, sep, value = text.partition("=")
        if not sep:
            raise ConfigError(f"--set {text}: write it as key=value, for example prune.ratio=0.3")
        where = f"--set {text}"
        _assign(tree, key.strip().split("."), parse_yaml(value, where, ConfigError), where)
    where = " ".join(filter(None, [str(path or ""), *(f"--set {text}" for text in assignments)])) or "options"
    for key, value in options.items():
        if value is not None:
            _assign(tree, key.split("__"), value, where=where)
    return validate(Recipe, tree, where, ConfigError)


def _assign(tree: dict[str, Any], keys: list[str], value: Any, where: str) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{where}: {key!r} holds a value, not a section of keys and values")
    tree[keys[-1]] = value
