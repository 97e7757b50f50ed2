"""Where a row's speed-up comes from: compiler, precision and pruning, from rows that were measured. Pure.

Three changes lead from the reference to a row: another runtime compiles the same network, another precision
runs it, another network (the pruned one, a smaller input) takes its place. Each subset of them is a corner
of a cube, and a build measures many of the corners side by side.

What a change brings depends on what was changed before: int8 gains less on what pruning has made small. Where
every corner was measured, a factor is therefore the geometric mean over all orders, the Shapley value of the
logarithm (Shapley, "A value for n-person games", 1953), told with its range over the orders. Else one order
stands for all, compiler first, whose corners were measured; changes between which no corner was measured are
told together. In each case the factors multiply to the measured speed-up, and no corner is estimated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain, combinations, pairwise, permutations
from typing import Literal

from pydantic import BaseModel, ConfigDict

from edgeprune.core.errors import ConfigError, did_you_mean
from edgeprune.records.pruning import Pruning
from edgeprune.records.speedup import Speedup
from edgeprune.records.summary import Row, Summary

Changes = frozenset[str]
COMPILER = "compiler"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Factor(_Record):
    """What one change, or several that cannot be told apart, brings.

    Attributes:
        change: such as ``compiler``, ``int8`` or ``pruning``; several are joined by `` and ``.
        factor: it multiplies the speed by this; below 1 it costs.
        lowest, highest: over all orders, where every corner was measured.
        share: of the logarithm of the whole speed-up; None where that is 1.
    """

    change: str
    factor: float
    lowest: float | None = None
    highest: float | None = None
    share: float | None = None


class Corner(_Record):
    """One subset of the changes: the row that has just these, or the one that was not measured.

    Attributes:
        row: label; of a row that the build did not measure, what it would have been called.
        p50_ms: None when it was not measured, or on a network that was pruned differently.
        speedup: over the reference, from the turns that both took; None likewise.
    """

    changes: tuple[str, ...]
    row: str
    p50_ms: float | None
    speedup: float | None = None


class Split(_Record):
    """The speed-up of a row over the reference, taken apart.

    Attributes:
        speedup: its estimate, which the factors multiply to; `gain` has its interval.
        method: ``mean of all orders``, or ``one order``.
        order: in which the changes were made; of `mean of all orders`, in which they are shown.
    """

    row: str
    reference: str
    row_ms: float
    reference_ms: float
    speedup: float
    gain: Speedup
    method: Literal["mean of all orders", "one order"]
    order: tuple[str, ...]
    factors: tuple[Factor, ...]
    corners: tuple[Corner, ...]

    @property
    def missing(self) -> tuple[Corner, ...]:
        """The corners that were not measured."""
        return tuple(corner for corner in self.corners if corner.p50_ms is None)


def measured_row(summary: Summary, label: str | None) -> Row:
    """Return the measured row of that label, or the chosen one.

    Raises:
        ConfigError: there is no such row.
    """
    rows = {row.label: row for row in summary.rows() if row.p50_ms is not None}
    label = label or (summary.chosen.label if summary.chosen else None)
    if label is None:
        raise ConfigError(
            f"--row: this build chose no row; name one of {', '.join(rows) or 'none: none ran'}"
        )
    if label not in rows:
        raise ConfigError(
            f"--row: {label!r} is no measured row of this build{did_you_mean(label, rows)}: {', '.join(rows)}"
        )
    return rows[label]


def split(summary: Summary, row: Row) -> Split | None:
    """Take the speed-up of a measured row apart; None where the build has no reference.

    Args:
        row: one of `measured_row`.
    """
    reference = next((one for one in summary.rows() if one.label == summary.reference), None)
    gain = row.over_reference
    if reference is None or not reference.p50_ms or not row.p50_ms or gain is None:
        return None
    changes = _changes(reference, row)
    corners = {subset: _corner(summary, reference, row, subset) for subset in _subsets(changes)}
    times = {subset: 1 / corner.speedup for subset, corner in corners.items() if corner.speedup}
    whole = math.log(gain.times)
    order: tuple[str, ...] = tuple(changes)
    if len(times) == len(corners):
        factors = [_mean_factor(change, changes, times) for change in changes]
    else:
        order = next((one for one in permutations(changes) if _walked(one) <= times.keys()), order)
        factors = _one_order(order, times)
    return Split(
        row=row.label,
        reference=reference.label,
        row_ms=row.p50_ms,
        reference_ms=reference.p50_ms,
        speedup=gain.times,
        gain=gain,
        method="mean of all orders" if len(times) == len(corners) else "one order",
        order=order,
        factors=tuple(
            one.model_copy(update={"share": math.log(one.factor) / whole if whole else None})
            for one in factors
        ),
        corners=tuple(corners.values()),
    )


def _changes(reference: Row, row: Row) -> list[str]:
    """Name what a row differs by from the reference, in the order that changes are shown and tried in."""
    network = "pruning" if row.variant == "pruned" else row.name
    differs = (
        (COMPILER, row.target != reference.target),
        (row.precision, row.precision != reference.precision),
        (network, row.name != reference.name),
    )
    return [change for change, is_made in differs if is_made]


def _subsets(changes: Sequence[str]) -> Iterator[Changes]:
    sizes = (combinations(changes, count) for count in range(len(changes) + 1))
    return (frozenset(subset) for subset in chain.from_iterable(sizes))


def _corner(summary: Summary, reference: Row, row: Row, made: Changes) -> Corner:
    """Return the corner at which just these changes were made, measured or not."""
    target = row.target if COMPILER in made else reference.target
    precision = row.precision if row.precision in made else reference.precision
    name = row.name if made - {COMPILER, row.precision} else reference.name
    label = f"{target} {name} {precision}"
    found = next((one for one in summary.rows() if one.label == label), None)
    other = target != row.target and name == row.name and row.variant == "pruned"
    if other and not _same_network(summary.targets[target].pruning, summary.targets[row.target].pruning):
        found = None
    ordered = tuple(change for change in _changes(reference, row) if change in made)
    return Corner(
        changes=ordered,
        row=label,
        p50_ms=found.p50_ms if found else None,
        speedup=found.speedup if found else None,
    )


def _same_network(one: Pruning | None, other: Pruning | None) -> bool:
    """Tell whether two targets' prunings left the same architecture, which is all that latency depends on."""
    kept = [
        pruning and (pruning.layers, [(step.name, step.applied) for step in pruning.passes])
        for pruning in (one, other)
    ]
    return kept[0] == kept[1]


def _walked(order: Sequence[str]) -> set[Changes]:
    """Return the corners that an order of the changes passes."""
    return {frozenset(order[:count]) for count in range(len(order) + 1)}


def _mean_factor(change: str, changes: Sequence[str], times: dict[Changes, float]) -> Factor:
    gains = []
    for order in permutations(changes):
        before = frozenset(order[: order.index(change)])
        gains.append(math.log(times[before] / times[before | {change}]))
    return Factor(
        change=change,
        factor=math.exp(sum(gains) / len(gains)),
        lowest=math.exp(min(gains)),
        highest=math.exp(max(gains)),
    )


def _one_order(order: Sequence[str], times: dict[Changes, float]) -> list[Factor]:
    """Return a factor for each stretch of the order between two corners that were measured."""
    stops = [count for count in range(len(order) + 1) if frozenset(order[:count]) in times]
    return [
        Factor(
            change=" and ".join(order[start:stop]),
            factor=times[frozenset(order[:start])] / times[frozenset(order[:stop])],
        )
        for start, stop in pairwise(stops)
    ]
