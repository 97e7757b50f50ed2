"""The latency table of a target: what each layer costs at each width, and what a whole network costs by it.

No torch here: the allocation of widths, the reports and the tests read a table without a network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from edgeprune.config.targets import Variables
from edgeprune.core.documents import read_json, validate
from edgeprune.core.errors import ConfigError, NotComparableError
from edgeprune.core.files import write_text_atomically
from edgeprune.images.size import ImageSize

SCHEMA_VERSION: Final = 1
TRUSTED: Final = 0.10
"""A table that predicts a whole network further off than this is not used."""
AGAIN = "run `edgeprune profile` again"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Shape(_Record):
    """What a convolution is, apart from its widths.

    Attributes:
        stride: down and across; one number in older tables, for both.
        groups: ``dense``, or ``depthwise`` where each channel is a group of its own, or how many there are.
        height, width: of the input, in pixels.
        activation: class name of what follows, such as ``SiLU``; ``Identity`` when nothing does.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    groups: Literal["dense", "depthwise"] | int
    height: int
    width: int
    activation: str

    @field_validator("stride", mode="before")
    @classmethod
    def _both_ways(cls, stride: Any) -> Any:
        return (stride, stride) if isinstance(stride, int) else stride

    @property
    def out_size(self) -> tuple[int, int]:
        """Height and width of the output, the padding being half the kernel."""
        return -(-self.height // self.stride[0]), -(-self.width // self.stride[1])

    @property
    def pixels(self) -> int:
        """Output pixels of one channel."""
        return self.out_size[0] * self.out_size[1]

    def __str__(self) -> str:
        down, across = self.stride
        words = [f"{self.kernel[0]}x{self.kernel[1]}"]
        if self.stride != (1, 1):
            words.append(f"stride {down}" if down == across else f"stride {down}x{across}")
        if self.groups != "dense":
            words.append("depthwise" if self.groups == "depthwise" else f"in {self.groups} groups")
        return " ".join([*words, self.activation, "at", f"{self.height}x{self.width}"])


class Layer(_Record):
    """One convolution of a network, and the groups that its widths follow.

    Attributes:
        name: dotted module name.
        cin, cout: widths in the network as it is.
        out_group: the group that the output width follows, None when it is fixed.
        out_each: how many output channels one channel of that group makes up.
        in_groups: (group, how many input channels one channel of that group makes up); the rest of `cin` is
            fixed.
    """

    name: str
    shape: Shape
    cin: int
    cout: int
    out_group: str | None = None
    out_each: int = 1
    in_groups: tuple[tuple[str, int], ...] = ()


def widths_at(layer: Layer, keep: Mapping[str, int], original: Mapping[str, int]) -> tuple[int, int]:
    """Return input and output channels of a layer when groups keep so many channels.

    Args:
        keep: channels that a group keeps, by name; a group that is not named keeps all.
        original: channels of every group in the network that `layer` describes.
    """
    cin = layer.cin - sum(
        each * (original[name] - keep.get(name, original[name])) for name, each in layer.in_groups
    )
    cout = layer.cout
    if (name := layer.out_group) is not None and name in keep:
        cout -= layer.out_each * (original[name] - keep[name])
    return cin, cout


class TableKey(_Record):
    """What a latency is true of: a table is used only where all of this is the same.

    Attributes:
        machine, board, cpu, cores: as `worker.environment` reads them.
        options, environment: of the runtime, as the profile sets them for this precision.
    """

    machine: str
    board: str | None
    cpu: str | None
    cores: int
    runtime: str
    runtime_version: str
    precision: str
    threads: int
    options: dict[str, str] = {}
    environment: Variables = {}


class Grid(_Record):
    """Latencies of one shape over input and output widths.

    Attributes:
        cin, cout: rising. A depthwise shape has one width: `cin` is ``(0,)``.
        ms: latency by [cin][cout]: median over the rounds of the median within each.
        iqr_ms: distance between the quartiles over the rounds, by [cin][cout].
        n: rounds.
    """

    shape: Shape
    cin: tuple[int, ...]
    cout: tuple[int, ...]
    ms: tuple[tuple[float, ...], ...]
    iqr_ms: tuple[tuple[float, ...], ...]
    n: int

    @model_validator(mode="after")
    def _whole(self) -> Grid:
        for axis in (self.cin, self.cout):
            if not axis or any(left >= right for left, right in pairwise(axis)):
                raise ValueError(f"{self.shape}: widths {list(axis)} do not rise")
        for values in (self.ms, self.iqr_ms):
            if len(values) != len(self.cin) or any(len(row) != len(self.cout) for row in values):
                raise ValueError(f"{self.shape}: not one latency for each pair of widths")
        return self


class Scan(_Record):
    """Latencies of one shape over one width at a fine spacing: where a staircase shows.

    Attributes:
        axis: which width varies; the other one stays at `other`.
    """

    shape: Shape
    axis: Literal["cin", "cout"]
    other: int
    widths: tuple[int, ...]
    ms: tuple[float, ...]
    iqr_ms: tuple[float, ...]
    n: int


class Anchor(_Record):
    """A whole network that was measured in the same rounds as the layers.

    Attributes:
        keep: channels of each group that has fewer than the original; empty for the original itself.
    """

    keep: dict[str, int] = {}
    ms: float
    iqr_ms: float
    n: int


class LatencyTable(_Record):
    """All that was measured for one network on one target.

    Attributes:
        batch: images that the networks took at once: latencies are of all of them.
        step: channels of one stair, derived from `scans`.
        original: width of every prunable group.
        factors: what rewritten convolutions would be made of, for `factor_ms`; no prediction reads them.
        anchors: whole networks, the original first.
        foreign: share of a core's time that others took in the worst of what was measured, where it was so
            much that it is no calm table; else 0.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    key: TableKey
    model: str
    imgsz: ImageSize
    batch: int = 1
    step: int
    original: dict[str, int]
    layers: tuple[Layer, ...]
    grids: tuple[Grid, ...]
    scans: tuple[Scan, ...] = ()
    factors: tuple[Grid, ...] = ()
    anchors: tuple[Anchor, ...]
    foreign: float = 0.0

    @model_validator(mode="after")
    def _complete(self) -> LatencyTable:
        measured = {grid.shape for grid in self.grids}
        if missing := [layer.name for layer in self.layers if layer.shape not in measured]:
            raise ValueError(f"layers: nothing was measured for {missing[0]}")
        if not self.anchors or self.anchors[0].keep:
            raise ValueError("anchors: the original network is not the first of them")
        return self

    @property
    def whole_ms(self) -> float:
        """Latency of the whole original network, measured in the same rounds as its layers."""
        return self.anchors[0].ms

    def layer_ms(self, shape: Shape, cin: int, cout: int) -> float:
        """Return the latency of a layer at any widths.

        A width is first rounded up to the step, since a vector that is partly used costs as much as a full
        one; between two stairs that were measured the latency is linear in either width. A width beyond the
        table is taken as its last one.

        Raises:
            ConfigError: this shape was not measured.
        """
        return self._looked_up(self.grids, shape, cin, cout)

    def factor_ms(self, shape: Shape, cin: int, cout: int) -> float:
        """Return the latency of a layer that may be rewritten, or of a factor of it, as `layer_ms` does.

        A factor narrower than all that were measured is taken as the narrowest one: too slow, if anything.

        Raises:
            ConfigError: this shape was not measured.
        """
        return self._looked_up((*self.factors, *self.grids), shape, cin, cout)

    def _looked_up(self, grids: Sequence[Grid], shape: Shape, cin: int, cout: int) -> float:
        grid = next((grid for grid in grids if grid.shape == shape), None)
        if grid is None:
            raise ConfigError(f"the latency table has no layer {shape}; {AGAIN}")
        rows = [_between(grid.cout, row, self._stair(cout, grid.cout)) for row in grid.ms]
        return _between(grid.cin, rows, self._stair(cin, grid.cin))

    def _stair(self, width: int, axis: Sequence[int]) -> int:
        return width if width in axis else -(-width // self.step) * self.step

    def network_ms(
        self, layers: Sequence[Layer], keep: Mapping[str, int], original: Mapping[str, int]
    ) -> float:
        """Predict the latency of the whole network when groups keep so many channels.

        That is the sum over the layers, plus what is no layer (additions, joins, pooling, the head's decode):
        `rest_ms`, a constant and a share that follows the volume of the activations.
        """
        return _sum_ms(self, layers, keep, original) + self._rest()(_volume(layers, keep, original))

    def predictor(
        self, layers_at: Callable[[Mapping[str, int]], Sequence[Layer]] | None = None
    ) -> Callable[[Mapping[str, int]], float]:
        """Return `network_ms` as a function of widths alone that remembers what it looked up.

        Args:
            layers_at: of a network with such widths, where it has not all the table's layers.
        """
        rest = self._rest()
        # By the shape's place in memory, which is quicker than by its fields; the shape is kept beside it.
        known: dict[int, tuple[Shape, int, dict[tuple[int, int], float]]] = {}

        def predict(keep: Mapping[str, int]) -> float:
            total, volume = 0.0, 0
            for layer in layers_at(keep) if layers_at else self.layers:
                shape = layer.shape
                if id(shape) not in known:
                    known[id(shape)] = (shape, shape.pixels, {})
                _, pixels, ms = known[id(shape)]
                widths = widths_at(layer, keep, self.original)
                if widths not in ms:
                    ms[widths] = self.layer_ms(shape, *widths)
                total += ms[widths]
                volume += widths[1] * pixels
            return total + rest(float(volume))

        return predict

    def rest_ms(self) -> float:
        """Return what of `whole_ms` no layer accounts for.

        Negative where the layers together are faster than one by one; `caveats` then says so.
        """
        return self.whole_ms - _sum_ms(self, self.layers, {}, self.original)

    def _rest(self) -> Callable[[float], float]:
        """Return the rest as a function of the volume: the line through the first and the last anchor."""
        first, last = self.anchors[0], self.anchors[-1]
        volumes = [_volume(self.layers, anchor.keep, self.original) for anchor in (first, last)]
        rests = [
            anchor.ms - _sum_ms(self, self.layers, anchor.keep, self.original) for anchor in (first, last)
        ]
        if volumes[0] == volumes[1]:
            return lambda volume: rests[0]
        slope = (rests[0] - rests[1]) / (volumes[0] - volumes[1])
        return lambda volume: rests[0] + slope * (volume - volumes[0])

    @property
    def off(self) -> float | None:
        """How far predictions are from whole networks that no prediction was made from, the largest share.

        The original and the narrowest network make the predictions of what is in no layer; the ones between
        are held against them. None where there is none between.
        """
        errors = [
            abs(self.network_ms(self.layers, anchor.keep, self.original) / anchor.ms - 1)
            for anchor in self.anchors[1:-1]
        ]
        return max(errors, default=None)

    @property
    def unfit(self) -> bool:
        """Whether nothing may be decided by it: others had the machine, or its predictions do not hold."""
        return bool(self.foreign) or (self.off or 0.0) > TRUSTED

    def caveats(self) -> tuple[str, ...]:
        """Return what a reader of this table has to know, one sentence each."""
        found = []
        if (self.off or 0.0) > TRUSTED:
            found.append(
                f"it predicts a network that was measured as a whole {self.off:.0%} off; no more than "
                f"{TRUSTED:.0%} is taken"
            )
        if self.foreign:
            found.append(
                f"contended: other processes took {self.foreign:.0%} of a core while this was measured; run "
                "the same command again on a calmer machine"
            )
        if self.rest_ms() < 0:
            found.append(
                f"the layers one by one take {-self.rest_ms():.3g} ms more than the whole network of "
                f"{self.whole_ms:.3g} ms"
            )
        return tuple(found)


def _sum_ms(
    table: LatencyTable, layers: Sequence[Layer], keep: Mapping[str, int], original: Mapping[str, int]
) -> float:
    return sum(table.layer_ms(layer.shape, *widths_at(layer, keep, original)) for layer in layers)


def _volume(layers: Sequence[Layer], keep: Mapping[str, int], original: Mapping[str, int]) -> float:
    """Return how many numbers all the layers write."""
    return float(sum(widths_at(layer, keep, original)[1] * layer.shape.pixels for layer in layers))


def _between(axis: Sequence[int], values: Sequence[float], at: int) -> float:
    """Return the value at a place of a rising axis, linear in between and constant beyond its ends."""
    if at <= axis[0]:
        return values[0]
    for (left, right), (low, high) in zip(pairwise(axis), pairwise(values), strict=True):
        if at <= right:
            return low + (high - low) * (at - left) / (right - left)
    return values[-1]


def save_table(table: LatencyTable, path: Path) -> None:
    """Write a table as JSON, whole or not at all."""
    write_text_atomically(path, table.model_dump_json(indent=1) + "\n")


def load_table(path: Path, key: TableKey | None = None) -> LatencyTable:
    """Read a table, and refuse one that was measured under other conditions than `key`.

    Raises:
        ConfigError: the file is missing, corrupt, or of another schema.
        NotComparableError: it was measured on another device, runtime version, precision or other options.
    """
    data = _read(path)
    if data.get("schema_version") != SCHEMA_VERSION:
        raise ConfigError(
            f"{path}: a latency table of schema {data.get('schema_version')!r}, not {SCHEMA_VERSION}; {AGAIN}"
        )
    try:
        table = validate(LatencyTable, data, f"{path}: not a whole latency table", ConfigError)
    except ConfigError as exc:
        raise ConfigError(f"{exc}; {AGAIN}") from exc
    if key is not None:
        check_key(table.key, key, str(path))
    return table


def check_key(measured: TableKey, wanted: TableKey, where: str) -> None:
    """Refuse a table that is not true of this machine and runtime.

    Raises:
        NotComparableError: naming the first thing that differs.
    """
    for name in TableKey.model_fields:
        before, now = getattr(measured, name), getattr(wanted, name)
        if before != now:
            raise NotComparableError(
                f"{where}: measured with {name} {_shown(before)}, but here it is {_shown(now)}; {AGAIN}"
            )


def _read(path: Path) -> dict[str, Any]:
    try:
        data = read_json(path, ConfigError)
    except ConfigError as exc:
        raise ConfigError(f"{exc}; {AGAIN}") from exc
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: the latency table is corrupt: not a JSON object; {AGAIN}")
    return data


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={text}" for name, text in sorted(value.items())) or "none"
    return repr(value)
