"""What a checkpoint tells of its network, checked before anything uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from edgeprune.core.errors import ModelError
from edgeprune.models.anchor_loss import Gains
from edgeprune.models.checkpoint.fields import KNOWN

MOST_CLASSES = 100_000
_ACTIVATION = (
    r"^(torch\.)?nn\.(ELU|Hardsigmoid|Hardswish|Identity|LeakyReLU|Mish|ReLU|ReLU6|Sigmoid|SiLU|Tanh)\(\)$"
)
_BLOCK_NAMES = frozenset(
    name.rpartition(".")[2] for name in KNOWN if name.startswith("ultralytics.nn.modules.")
)
_LAYER_NAMES = frozenset(name.rpartition(".")[2] for name in KNOWN if name.startswith("torch.nn.modules."))

Gain = Annotated[float, Field(ge=-1e4, le=1e4, allow_inf_nan=False)]
Words = Annotated[str, Field(max_length=200)]


def _side(value: Any) -> Any:
    """Take the longer side of an image size that is given as two, as ultralytics does in training."""
    if isinstance(value, (list, tuple)) and value and all(type(side) is int for side in value):
        return max(value)
    return value


class TrainArgs(BaseModel):
    """What of a checkpoint's training arguments is carried along.

    The recovery has to augment as the training did (a detector of digits must never see a mirrored one), and
    the rest holds paths of other machines.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    task: Words | None = None
    imgsz: Annotated[int, Field(ge=1, le=16_384), BeforeValidator(_side)] | None = None
    hsv_h: Gain | None = None
    hsv_s: Gain | None = None
    hsv_v: Gain | None = None
    degrees: Gain | None = None
    translate: Gain | None = None
    scale: Gain | None = None
    shear: Gain | None = None
    perspective: Gain | None = None
    flipud: Gain | None = None
    fliplr: Gain | None = None
    bgr: Gain | None = None
    mixup: Gain | None = None
    cutmix: Gain | None = None
    copy_paste: Gain | None = None
    auto_augment: Words | None = None
    erasing: Gain | None = None
    box: Gain | None = None
    cls: Gain | None = None
    dfl: Gain | None = None
    pose: Gain | None = None
    kobj: Gain | None = None
    rle: Gain | None = None
    angle: Gain | None = None
    overlap_mask: bool | None = None
    mask_ratio: Annotated[int, Field(ge=1, le=16)] | None = None


class NetworkConfig(BaseModel):
    """The `model.yaml` inside a checkpoint, from which `YOLO(...)` could build the network again.

    Ultralytics evaluates its activation and looks its blocks up by name, so both are of fixed lists.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    nc: Annotated[int, Field(ge=1, le=MOST_CLASSES)]
    backbone: list[list[Any]]
    head: list[list[Any]]
    scales: dict[Words, list[float]] | None = None
    scale: Words | None = None
    depth_multiple: Gain | None = None
    width_multiple: Gain | None = None
    activation: Annotated[str, Field(pattern=_ACTIVATION)] | None = None
    end2end: bool | None = None
    reg_max: Annotated[int, Field(ge=1, le=64)] | None = None
    kpt_shape: (
        Annotated[list[Annotated[int, Field(ge=1, le=1000)]], Field(min_length=2, max_length=2)] | None
    ) = None
    yaml_file: Words | None = None
    channels: Annotated[int, Field(ge=1, le=64)] | None = None
    ch: Annotated[int, Field(ge=1, le=64)] | None = None
    anchors: Annotated[list[list[float]], Field(max_length=16)] | int | None = None

    @field_validator("backbone", "head")
    @classmethod
    def _of_layers(cls, rows: list[list[Any]]) -> list[list[Any]]:
        if len(rows) > 500:
            raise ValueError("more than 500 layers")
        for row in rows:
            if len(row) != 4 or not isinstance(row[2], str):
                raise ValueError("a layer is [from, repeats, module, arguments]")
            prefix, _, name = row[2].rpartition(".")
            known = {"": _BLOCK_NAMES | {"Silence"}, "nn": _LAYER_NAMES}.get(prefix, frozenset())
            if name not in known:
                raise ValueError(
                    f"the module {row[2][:40]!r} is not one that ultralytics builds detectors from"
                )
            if not _is_places(row[0]) or type(row[1]) is not int or not _is_arguments(row[3]):
                raise ValueError("a layer has arguments that are no numbers and words")
        return rows


def _is_places(value: Any) -> bool:
    places = value if isinstance(value, list) else [value]
    return len(places) <= 32 and all(type(place) is int and abs(place) < 1000 for place in places)


def _is_arguments(value: Any, depth: int = 0) -> bool:
    if isinstance(value, list):
        return depth < 3 and len(value) <= 64 and all(_is_arguments(one, depth + 1) for one in value)
    return (
        value is None or isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) < 64)
    )


class TrustedRecord(BaseModel):
    """What is read of a checkpoint that the user trusts, whose layers may be of any kind.

    Attributes:
        names: of the classes, in the order of their numbers.
        stride: of each level of a detector's head, in pixels.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    names: tuple[Words, ...]
    stride: tuple[Annotated[float, Field(gt=0, le=1024, allow_inf_nan=False)], ...] = ()
    args: TrainArgs

    @field_validator("names", mode="before")
    @classmethod
    def _in_order(cls, value: Any) -> tuple[Any, ...]:
        """Order names as ultralytics does: a list, or a mapping of numbers 0, 1, ... to names."""
        if isinstance(value, (list, tuple)):
            value = dict(enumerate(value))
        if not isinstance(value, Mapping) or not 0 < len(value) <= MOST_CLASSES:
            raise ValueError("a list or a mapping of class numbers to names is needed")
        try:
            ordered = {int(key): name for key, name in value.items() if not isinstance(key, float)}
        except (TypeError, ValueError) as exc:
            raise ValueError("a class number is no number") from exc
        if sorted(ordered) != list(range(len(value))):
            raise ValueError(f"the {len(value)} classes are not numbered 0 to {len(value) - 1}")
        names = tuple(ordered[index] for index in range(len(value)))
        return tuple(str(name) if type(name) in (int, float) else name for name in names)


class NetworkRecord(TrustedRecord):
    """All that is read of a checkpoint beside its layers.

    Attributes:
        gains: of the loss of a classic YOLOv5; None of all other networks.
    """

    config: NetworkConfig
    gains: Gains | None = None


Record = TypeVar("Record", bound=TrustedRecord)


def checked_record(kind: type[Record], values: Mapping[str, Any], where: str) -> Record:
    """Check what a checkpoint tells.

    Args:
        values: the fields of the record, of plain data.
        where: the file, for the message.

    Raises:
        ModelError: a value is missing or impossible.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as exc:
        found = exc.errors()
        place = ".".join(str(part) for part in found[0]["loc"][:4])
        reason = found[0]["msg"].removeprefix("Value error, ")
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ModelError(
            f"{where}: what the checkpoint tells of itself is damaged: {place}: {reason}{more}"
        ) from None
