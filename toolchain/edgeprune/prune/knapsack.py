"""Which width each group keeps under a budget: a knapsack over channel groups, on what the network costs.

As in HALP (arXiv 2110.10811) the importance that is kept is maximised under the latency that a table of the
target predicts, or under its multiply-accumulates. A layer's cost depends on the widths of all groups that
it reads and writes, so the costs are taken around the present widths, the knapsack is solved for a budget a
little lower, and so on down to the goal. Each is a small integer program for HiGHS, through scipy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass

import numpy as np
from scipy.optimize import LinearConstraint
from scipy.sparse import csr_matrix

from edgeprune.core.errors import BudgetError
from edgeprune.core.integer_program import cheapest_choice
from edgeprune.prune.allocation import on_step

Widths = Mapping[str, int]
Cost = Callable[[Widths], float]

_STRIDES = 12  # from the original's latency down to the budget
_POLISH = 10  # solutions around the last widths at the budget itself
_SCALE = 1e4  # the sum of what all the choices of a program lose
_REACH = 0.25  # a group changes by at most this share of its original width at a time


@dataclass(frozen=True)
class Allotment:
    """Widths under a budget.

    Attributes:
        keep: channels that each group keeps.
        cost: what the network costs with them, in the unit of the budget.
        importance: share of the network's importance that is kept, in [0, 1].
    """

    keep: dict[str, int]
    cost: float
    importance: float


def width_options(width: int, step: int, max_ratio: float) -> list[int]:
    """Return the widths a group may have: on the step, not below its floor, its original width among them.

    Args:
        max_ratio: the group loses no more than this share of its channels.
    """
    floor = width * (1 - max_ratio)
    stepped = {on_step(wanted, step, width) for wanted in range(step, width + 1, step)}
    return sorted({option for option in stepped if option >= floor} | {width})


def options_of(
    scores: Mapping[str, Sized], original: Widths, step: int, max_ratio: float
) -> dict[str, list[int]]:
    """Return the widths that groups may have which may have been cut already, see `width_options`.

    Args:
        scores: of the channels that each group has now.
        original: widths before any cut: the ratio and the step are of those.
    """
    return {
        name: [width for width in width_options(original[name], step, max_ratio) if width <= len(score)]
        for name, score in scores.items()
    }


def allot(
    scores: Mapping[str, Sequence[float]],
    options: Mapping[str, Sequence[int]],
    cost_of: Cost,
    budget: float,
    unit: str = "ms",
) -> Allotment:
    """Choose the width of every group: within the budget, and with the most importance kept.

    Args:
        scores: importance of each channel, by group, comparable between groups (see `criteria`).
        options: widths that each group may have, ascending, the original one last.
        cost_of: latency of the whole network, or another cost of it, when the groups have these widths.
        budget: what it may cost, in `unit`.

    Raises:
        BudgetError: no widths meet the budget; the message names the least within reach.
    """
    values = {name: _values(scores[name], options[name]) for name in options}
    total = sum(value[-1] for value in values.values())
    keep = {name: widths[-1] for name, widths in options.items()}
    now = cost_of(keep)
    least = {name: widths[0] for name, widths in options.items()}
    lowest = min(cost_of(least), now)
    if lowest > budget:
        raise BudgetError(
            f"no widths reach {budget:.2f} {unit}: the least within prune.max_ratio is predicted to be "
            f"{lowest:.2f} {unit} (unpruned {now:.2f} {unit})"
        )
    if now <= budget:
        return _made(keep, now, values, options, total)
    best: Allotment | None = None
    aim = budget
    for goal in [*np.geomspace(now, budget, _STRIDES + 1)[1:-1], *[None] * _POLISH]:
        keep = _solve(keep, values, options, cost_of, aim if goal is None else float(goal))
        found = _made(keep, cost_of(keep), values, options, total)
        if found.cost > budget:
            # The costs around the last widths promised more than came of it: ask for more.
            aim *= budget / found.cost if goal is None else 1.0
        elif best is None or found.importance > best.importance:
            best = found
    return best or _made(least, lowest, values, options, total)


def _values(scores: Sequence[float], widths: Sequence[int]) -> list[float]:
    """Return the importance that is kept at each width: that of the best channels."""
    kept = np.cumsum(np.sort(np.asarray(scores, dtype=np.float64))[::-1])
    return [float(kept[width - 1]) for width in widths]


def _made(
    keep: Widths,
    cost: float,
    values: Mapping[str, Sequence[float]],
    options: Mapping[str, Sequence[int]],
    total: float,
) -> Allotment:
    kept = sum(values[name][list(options[name]).index(width)] for name, width in keep.items())
    return Allotment(dict(keep), cost, kept / total if total else 1.0)


def _solve(
    keep: Widths,
    values: Mapping[str, Sequence[float]],
    options: Mapping[str, Sequence[int]],
    cost_of: Cost,
    goal: float,
) -> dict[str, int]:
    """Solve the multiple-choice knapsack around `keep`: one width a group, savings up to the goal."""
    now = cost_of(keep)
    names: list[str] = []
    widths: list[int] = []
    lost: list[float] = []
    cost: list[float] = []
    for name, choices in options.items():
        reach = max(_REACH * choices[-1], min(np.diff(choices), default=0))
        for width, value in zip(choices, values[name], strict=True):
            if abs(width - keep[name]) <= reach:
                names.append(name)
                widths.append(width)
                lost.append(values[name][-1] - value)
                cost.append(0.0 if width == keep[name] else cost_of({**keep, name: width}) - now)
    one_each = csr_matrix([[float(owner == name) for owner in names] for name in options])
    savings = LinearConstraint(np.array([cost]), ub=_within_reach(names, cost, goal - now))
    # What is lost, not what is kept: the solver stops within a share of the optimum, and a network may keep
    # all but a thousandth of its importance. Scaled, since its tolerances are absolute.
    scale = _SCALE / max(float(np.sum(lost)), 1e-300)
    taken = cheapest_choice(np.array(lost) * scale, [LinearConstraint(one_each, 1, 1), savings])
    if taken is None:
        return dict(keep)
    return {names[i]: widths[i] for i in np.flatnonzero(taken)}


def _within_reach(names: Sequence[str], cost: Sequence[float], wanted: float) -> float:
    """Return the saving to ask for: the wanted one, or the most that one change of every group can bring."""
    lowest: dict[str, float] = {}
    for name, ms in zip(names, cost, strict=True):
        lowest[name] = min(ms, lowest.get(name, 0.0))
    return max(wanted, sum(lowest.values()) * 0.999)
