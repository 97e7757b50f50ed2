"""Which width each group keeps under a latency budget: a knapsack over channel groups, on measured latency.

As in HALP (arXiv 2110.10811) the importance that is kept is maximised under the latency that a table of the
target predicts. A layer's latency depends on the widths of all groups that it reads and writes, so the costs
are taken around the present widths, the knapsack is solved for a budget a little lower, and so on down to the
goal. Each is a small integer program for HiGHS, through scipy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import LinearConstraint
from scipy.sparse import csr_matrix

from edgeprune.core.errors import BudgetError
from edgeprune.core.integer_program import cheapest_choice
from edgeprune.prune.allocation import on_step

Widths = Mapping[str, int]
NetworkMs = Callable[[Widths], float]

_STRIDES = 12  # from the original's latency down to the budget
_POLISH = 10  # solutions around the last widths at the budget itself
_REACH = 0.25  # a group changes by at most this share of its original width at a time


@dataclass(frozen=True)
class Allotment:
    """Widths under a budget.

    Attributes:
        keep: channels that each group keeps.
        predicted_ms: latency that the table predicts for them.
        importance: share of the network's importance that is kept, in [0, 1].
    """

    keep: dict[str, int]
    predicted_ms: float
    importance: float


def width_options(width: int, step: int, max_ratio: float) -> list[int]:
    """Return the widths a group may have: on the step, not below its floor, its original width among them.

    Args:
        max_ratio: the group loses no more than this share of its channels.
    """
    floor = width * (1 - max_ratio)
    stepped = {on_step(wanted, step, width) for wanted in range(step, width + 1, step)}
    return sorted({option for option in stepped if option >= floor} | {width})


def allot(
    scores: Mapping[str, Sequence[float]],
    options: Mapping[str, Sequence[int]],
    network_ms: NetworkMs,
    budget_ms: float,
) -> Allotment:
    """Choose the width of every group: within the budget, and with the most importance kept.

    Args:
        scores: importance of each channel, by group; groups are made comparable by their mean.
        options: widths that each group may have, ascending, the original one last.
        network_ms: latency of the whole network, in ms, when the groups have these widths.

    Raises:
        BudgetError: no widths meet the budget; the message names the lowest latency within reach.
    """
    values = {name: _values(scores[name], options[name]) for name in options}
    total = sum(value[-1] for value in values.values())
    keep = {name: widths[-1] for name, widths in options.items()}
    now = network_ms(keep)
    least = {name: widths[0] for name, widths in options.items()}
    fastest = min(network_ms(least), now)
    if fastest > budget_ms:
        raise BudgetError(
            f"no widths reach {budget_ms:.2f} ms: the fastest within prune.max_ratio is predicted to take "
            f"{fastest:.2f} ms (unpruned {now:.2f} ms)"
        )
    if now <= budget_ms:
        return _made(keep, now, values, options, total)
    best: Allotment | None = None
    aim = budget_ms
    for goal in [*np.geomspace(now, budget_ms, _STRIDES + 1)[1:-1], *[None] * _POLISH]:
        keep = _solve(keep, values, options, network_ms, aim if goal is None else float(goal))
        found = _made(keep, network_ms(keep), values, options, total)
        if found.predicted_ms > budget_ms:
            # The costs around the last widths promised more than came of it: ask for more.
            aim *= budget_ms / found.predicted_ms if goal is None else 1.0
        elif best is None or found.importance > best.importance:
            best = found
    return best or _made(least, fastest, values, options, total)


def _values(scores: Sequence[float], widths: Sequence[int]) -> list[float]:
    """Return the importance that is kept at each width: of the best channels, over the group's mean."""
    ranked = np.sort(np.asarray(scores, dtype=np.float64))[::-1]
    kept = np.cumsum(ranked) / max(float(ranked.mean()), 1e-12)
    return [float(kept[width - 1]) for width in widths]


def _made(
    keep: Widths,
    predicted_ms: float,
    values: Mapping[str, Sequence[float]],
    options: Mapping[str, Sequence[int]],
    total: float,
) -> Allotment:
    kept = sum(values[name][list(options[name]).index(width)] for name, width in keep.items())
    return Allotment(dict(keep), predicted_ms, kept / total if total else 1.0)


def _solve(
    keep: Widths,
    values: Mapping[str, Sequence[float]],
    options: Mapping[str, Sequence[int]],
    network_ms: NetworkMs,
    goal_ms: float,
) -> dict[str, int]:
    """Solve the multiple-choice knapsack around `keep`: one width a group, savings up to the goal."""
    now = network_ms(keep)
    names: list[str] = []
    widths: list[int] = []
    gain: list[float] = []
    cost: list[float] = []
    for name, choices in options.items():
        reach = max(_REACH * choices[-1], min(np.diff(choices), default=0))
        for width, value in zip(choices, values[name], strict=True):
            if abs(width - keep[name]) <= reach:
                names.append(name)
                widths.append(width)
                gain.append(value)
                cost.append(0.0 if width == keep[name] else network_ms({**keep, name: width}) - now)
    one_each = csr_matrix([[float(owner == name) for owner in names] for name in options])
    savings = LinearConstraint(np.array([cost]), ub=_within_reach(names, cost, goal_ms - now))
    taken = cheapest_choice(-np.array(gain), [LinearConstraint(one_each, 1, 1), savings])
    if taken is None:
        return dict(keep)
    return {names[i]: widths[i] for i in np.flatnonzero(taken)}


def _within_reach(names: Sequence[str], cost: Sequence[float], wanted: float) -> float:
    """Return the saving to ask for: the wanted one, or the most that one change of every group can bring."""
    lowest: dict[str, float] = {}
    for name, ms in zip(names, cost, strict=True):
        lowest[name] = min(ms, lowest.get(name, 0.0))
    return max(wanted, sum(lowest.values()) * 0.999)
