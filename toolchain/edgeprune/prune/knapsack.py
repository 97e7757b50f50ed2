"""Which width each group keeps under a budget, and which blocks go: a knapsack on what the network costs.

As in HALP (arXiv 2110.10811) the importance that is kept is maximised under the latency that a table of the
target predicts, or under its multiply-accumulates. A layer's cost depends on the widths of all groups that
it reads and writes, so the costs are taken around the present widths, the knapsack is solved for a budget a
little lower, and so on down to the goal. Each is a small integer program for HiGHS, through scipy.

A block that can go whole is one more choice in it: 1 or 0, as a group has its widths. Where it is 0 the
groups inside it have no width at all, so what they cost and what they are worth counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Sized
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
class Block:
    """A part of the network that can go whole.

    Attributes:
        loss: what goes with it, in the unit of the scores, in place of what the groups inside are worth.
        inside: groups and blocks that go with it: no layer outside shares them.
    """

    loss: float
    inside: Collection[str] = ()


@dataclass(frozen=True)
class Allotment:
    """Widths under a budget.

    Attributes:
        keep: channels that each group keeps; a group inside a block that goes is not in it.
        cost: what the network costs with them, in the unit of the budget.
        importance: share of the network's importance that is kept, in [0, 1].
        dropped: the blocks that go.
    """

    keep: dict[str, int]
    cost: float
    importance: float
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Choice:
    """What one group may be, or one block.

    Attributes:
        widths: rising; of a block 0 and 1, or 1 alone where it has to stay.
        values: importance that is kept at each width.
        within: the blocks that it goes with.
    """

    widths: Sequence[int]
    values: Sequence[float]
    within: tuple[str, ...] = ()
    is_block: bool = False

    def lost(self, width: int) -> float:
        return self.values[-1] - self.values[self.widths.index(width)]


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
    blocks: Mapping[str, Block] | None = None,
) -> Allotment:
    """Choose the width of every group, and the blocks that go: within the budget, and with the least loss.

    Args:
        scores: importance of each channel, by group, comparable between groups (see `criteria`).
        options: widths that each group may have, ascending, the original one last.
        cost_of: latency of the whole network, or another cost of it, when the groups have these widths. The
            blocks are among them by name: 1, or 0 for one that goes, and nothing inside it costs then.
        budget: what it may cost, in `unit`.
        blocks: what can go whole, by name. With them never more is lost than by widths alone.

    Raises:
        BudgetError: nothing meets the budget; the message names the least within reach.
    """
    blocks = blocks or {}
    ways = [_choices(scores, options, blocks, may_go) for may_go in ([False, True] if blocks else [False])]
    now, least = cost_of(_ends(ways[0], -1)), min(cost_of(_ends(way, 0)) for way in ways)
    if min(now, least) > budget:
        raise BudgetError(
            f"no widths reach {budget:.2f} {unit}: the least within prune.max_ratio is predicted to be "
            f"{min(now, least):.2f} {unit} (unpruned {now:.2f} {unit})"
        )
    found = [one for way in ways if (one := _descend(way, cost_of, budget))]
    return max(found, key=lambda one: one.importance)


def _choices(
    scores: Mapping[str, Sequence[float]],
    options: Mapping[str, Sequence[int]],
    blocks: Mapping[str, Block],
    may_go: bool,
) -> dict[str, _Choice]:
    def within(name: str) -> tuple[str, ...]:
        return tuple(outer for outer, block in blocks.items() if name in block.inside)

    found = {
        name: _Choice(list(widths), _values(scores[name], widths), within(name))
        for name, widths in options.items()
    }
    for name, block in blocks.items():
        first = 0 if may_go else 1
        found[name] = _Choice([0, 1][first:], [0.0, block.loss][first:], within(name), is_block=True)
    return found


def _ends(choices: Mapping[str, _Choice], end: int) -> dict[str, int]:
    return {name: choice.widths[end] for name, choice in choices.items()}


def _descend(choices: Mapping[str, _Choice], cost_of: Cost, budget: float) -> Allotment | None:
    """Go from the widest down to the budget; None where nothing was found that meets it."""
    at = _ends(choices, -1)
    now = cost_of(at)
    if now <= budget:
        return _made(at, now, choices)
    best: Allotment | None = None
    aim = budget
    for goal in [*np.geomspace(now, budget, _STRIDES + 1)[1:-1], *[None] * _POLISH]:
        at = _solve(at, choices, cost_of, aim if goal is None else float(goal))
        found = _made(at, cost_of(at), choices)
        if found.cost > budget:
            # The costs around the last widths promised more than came of it: ask for more.
            aim *= budget / found.cost if goal is None else 1.0
        elif best is None or found.importance > best.importance:
            best = found
    least = _made(_ends(choices, 0), cost_of(_ends(choices, 0)), choices)
    return best or (least if least.cost <= budget else None)


def _values(scores: Sequence[float], widths: Sequence[int]) -> list[float]:
    """Return the importance that is kept at each width: that of the best channels."""
    kept = np.cumsum(np.sort(np.asarray(scores, dtype=np.float64))[::-1])
    return [float(kept[width - 1]) for width in widths]


def _made(at: Widths, cost: float, choices: Mapping[str, _Choice]) -> Allotment:
    there = {name: one for name, one in choices.items() if all(at[outer] for outer in one.within)}
    lost = sum(choice.lost(at[name]) for name, choice in there.items())
    total = sum(choice.values[-1] for choice in choices.values())
    return Allotment(
        {name: at[name] for name, choice in there.items() if not choice.is_block},
        cost,
        1 - lost / total if total else 1.0,
        tuple(name for name in there if at[name] == 0),
    )


def _solve(at: Widths, choices: Mapping[str, _Choice], cost_of: Cost, goal: float) -> dict[str, int]:
    """Solve the multiple-choice knapsack around `at`: one width a group, savings up to the goal.

    What lies in a block has one width or goes with the block; its costs are taken with the block there.
    """
    now = cost_of(at)
    names: list[str] = []
    widths: list[int] = []
    lost: list[float] = []
    cost: list[float] = []
    for name, choice in choices.items():
        there = {**at, **dict.fromkeys(choice.within, 1)}
        before = now if there == at else cost_of(there)
        reach = max(_REACH * choice.widths[-1], min(np.diff(choice.widths), default=0))
        for width in choice.widths:
            if abs(width - at[name]) <= reach:
                names.append(name)
                widths.append(width)
                lost.append(choice.lost(width))
                cost.append(0.0 if width == at[name] else cost_of({**there, name: width}) - before)
    one_each = _one_each(names, widths, choices)
    # What is lost, not what is kept: the solver stops within a share of the optimum, and a network may keep
    # all but a thousandth of its importance. Scaled, since its tolerances are absolute.
    scale = _SCALE / max(float(np.sum(lost)), 1e-300)
    savings = LinearConstraint(np.array([cost]), ub=_within_reach(cost, one_each, goal - now))
    taken = cheapest_choice(np.array(lost) * scale, [one_each, savings])
    if taken is None:
        return dict(at)
    return {**at, **{names[i]: widths[i] for i in np.flatnonzero(taken)}}


def _one_each(
    names: Sequence[str], widths: Sequence[int], choices: Mapping[str, _Choice]
) -> LinearConstraint:
    """Return the rows that give each group one of its widths, or let it go with one of its blocks."""
    pairs = list(zip(names, widths, strict=True))
    rows = [
        [float(owner == name or (owner in choice.within and width == 0)) for owner, width in pairs]
        for name, choice in choices.items()
    ]
    return LinearConstraint(csr_matrix(rows), 1, 1)


def _within_reach(cost: Sequence[float], one_each: LinearConstraint, wanted: float) -> float:
    """Return the saving to ask for: the wanted one, or the most that one change of every group can bring."""
    values = np.array(cost)
    taken = cheapest_choice(values / max(float(np.abs(values).max()), 1e-300), [one_each])
    lowest = 0.0 if taken is None else float(values[taken].sum())
    return max(wanted, lowest * 0.999)
