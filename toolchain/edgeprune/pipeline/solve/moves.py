"""What the search does next: try another size, give one its long recovery, or end. Pure functions.

Short recoveries are cheap and decide which sizes are worth a long one, as in successive halving (Jamieson and
Talwalkar, arXiv 1502.07943). What a long one will leave of a drop is read off a power law of the epochs, the
usual form of a learning curve (Domhan et al., IJCAI 2015; Rosenfeld et al., arXiv 1909.12673):
``drop(epochs) ~ epochs ** -EXPONENT``. Each long recovery then says as much as that law: what it left of the
drop of the short one.

What a size is cut from decides more than how small it is. YOLO11n on drawn shapes: 65 % of the latency, cut
from a network without any recovery, kept .174 of .537 right after the cut; 68 %, cut from a recovered one,
kept .505 (2026-11-30). So a size that was cut before a larger one had its long recovery has not failed: it is
cut again. Pruning and recovering in turns goes back to Han et al. (arXiv 1506.02626).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

EXPONENT = 0.7
"""Of the power law. The test holds it to recorded curves."""
HOPELESS = 3.0
"""Smaller sizes are not tried below one that is expected to miss the budget by so many times."""
LEAST_LEFT = 0.5
"""A long recovery counts as if it had left this share of what the power law says, at least: one that left
nothing of a small drop says nothing of a large one."""
BASE_AND_NEXT = 2
"""So many long recoveries have to be left for one of the size that the next ones are cut from."""
LEAST_BUDGET = 0.002
"""What budgets below it are taken for when it is asked what is hopeless: no data set tells less apart."""


@dataclass(frozen=True)
class Tried:
    """A size that was cut and judged.

    Attributes:
        share: of the uncut network's cost that was aimed at, in (0, 1).
        short: drop on val after the short recovery.
        long: after the long one; None where there was none.
        slow: whether the target does not run it faster than the larger one before it.
        after: how many larger sizes had had their long recovery when it was cut.
    """

    share: float
    short: float
    long: float | None = None
    slow: bool = False
    after: int = 0

    @property
    def drop(self) -> float:
        """The drop of the better of its networks."""
        return self.short if self.long is None else min(self.short, self.long)

    def keeps(self, budget: float) -> bool:
        """Whether it may be chosen."""
        return not self.slow and self.drop <= budget


@dataclass(frozen=True)
class Plan:
    """How long the search is.

    Attributes:
        shares: the ladder: shares of the uncut network's cost to try, falling.
        short, long: epochs of the two recoveries; 0 of a build without training.
        trainings: the most long recoveries, that of the size that is chosen among them.
        gap: two sizes whose shares differ by less than this factor have nothing worth trying between them.
        first: epochs of the network before any cut, where passes changed it; else 0.
        rivals: the most ways to one size that get a short recovery.
    """

    shares: tuple[float, ...]
    short: int
    long: int
    trainings: int
    gap: float
    first: int = 0
    rivals: int = 1

    @property
    def epochs(self) -> int:
        """The most epochs of all that the ladder asks for; a size between two rungs adds a short recovery."""
        return self.first + len(self.shares) * self.short * self.rivals + self.trainings * self.long


class Cut(NamedTuple):
    """Cut to a share of the uncut network's cost, give it a short recovery, judge it."""

    share: float


class Train(NamedTuple):
    """Give the long recovery to the size of this share."""

    share: float


def floor_of(tried: Sequence[Tried]) -> float:
    """Return the drop that no recovery is expected to pass: of the uncut network after its own, 0 at most.

    A network that had been trained too little gains by any training, and the uncut one gains most.
    """
    return min([0.0, *(one.drop for one in tried if one.share >= 1)])


def shares_left(tried: Sequence[Tried]) -> list[float]:
    """Return what share of the drop after a short recovery each long one has left, never below 0.

    Both drops count from `floor_of`.
    """
    floor = floor_of(tried)
    both = [(one.short - floor, one.long - floor) for one in tried if one.long is not None]
    return [max(0.0, long / short) for short, long in both if short > 0]


def expected_share(tried: Sequence[Tried], plan: Plan) -> float:
    """Return what share of a short recovery's drop is expected to be left after a long one, in [0, 1].

    The geometric mean of what the power law says and of what each long recovery so far has left. Light cuts
    leave less than heavy ones, so a single one says little of other sizes.
    """
    law = float((plan.short / plan.long) ** EXPONENT) if plan.long > plan.short > 0 else 1.0
    left = [min(1.0, max(LEAST_LEFT * law, share)) for share in shares_left(tried)]
    return statistics.geometric_mean([law, *left])


def expected_drop(one: Tried, tried: Sequence[Tried], plan: Plan) -> float:
    """Return what drop a size is expected to have after a long recovery, by its short one."""
    return _drop_left(one, expected_share(tried, plan), floor_of(tried))


def _drop_left(one: Tried, share: float, floor: float) -> float:
    """Return the drop of a size of which a long recovery leaves a share, counted from `floor_of`."""
    return floor + share * (one.short - floor)


def best_of(tried: Sequence[Tried], budget: float) -> Tried | None:
    """Return the smallest size that keeps to the budget; where none does, the one of the least drop."""
    return _smallest_kept(tried, budget) or min(
        (one for one in tried if not one.slow), key=lambda one: one.drop, default=None
    )


def _smallest_kept(tried: Sequence[Tried], budget: float) -> Tried | None:
    """Return the smallest size that keeps to the budget."""
    return min((one for one in tried if one.keeps(budget)), key=lambda one: one.share, default=None)


def next_move(tried: Sequence[Tried], plan: Plan, budget: float) -> Cut | Train | None:
    """Return what to do next, None at the end.

    First down the ladder by short recoveries, until a size is hopeless. Then long ones, the smallest hopeful
    size first: one that fails sends the search to larger sizes, one that holds to smaller ones, and between
    the two it bisects. After a failure the smallest size that keeps to the budget gets its long recovery:
    that is what the next ones are cut from. What was cut before a larger size was recovered is cut again, see
    `is_outdated`. One is kept back for the smallest size that keeps to the budget, unless there is one only.
    Those that are left over go to sizes that are not hopeful, but that as much as the best one so far gained
    would bring into the budget. A plan without training goes down the ladder and bisects.
    """
    if rungs := rungs_left(tried, plan, budget):
        return Cut(rungs[0])
    best = _smallest_kept(tried, budget)
    top = best.share if best else 1.0
    failed = [
        one
        for one in _up_to_date(tried)
        if one.long is not None and not one.keeps(budget) and one.share < top
    ]
    floor = max((one.share for one in failed), default=0.0)
    left = plan.trainings - long_recoveries(tried)
    is_open = best is not None and best.long is None and top < 1 and left > 0
    if failed and is_open and left >= BASE_AND_NEXT:
        return Train(top)
    kept_back = int(is_open and plan.trainings > 1)
    if (left > kept_back or not plan.long) and (move := _between(tried, plan, budget, (floor, top))):
        return move
    if is_open:
        return Train(top)
    return _against_odds(tried, budget, (floor, top)) if best and left > 0 else None


def long_recoveries(tried: Sequence[Tried], above: float = 0.0) -> int:
    """Return how many sizes, of those above a share, have had their long recovery."""
    return sum(one.long is not None and one.share > above for one in tried)


def is_outdated(one: Tried, tried: Sequence[Tried]) -> bool:
    """Whether a larger size has had its long recovery since one was cut: cut from that, it may lose less."""
    return long_recoveries(tried, one.share) > one.after


def _up_to_date(tried: Sequence[Tried]) -> list[Tried]:
    """Return the sizes that are not outdated."""
    return [one for one in tried if not is_outdated(one, tried)]


def rungs_left(tried: Sequence[Tried], plan: Plan, budget: float) -> list[float]:
    """Return the shares of the ladder still to be tried; none where the smallest size is hopeless."""
    lowest = min(tried, key=lambda one: one.share, default=None)
    if lowest is not None and not _leads_on(lowest, tried, plan, budget):
        return []
    return [share for share in plan.shares if lowest is None or share < lowest.share / 1.001]


def is_hopeless(one: Tried, tried: Sequence[Tried], plan: Plan, budget: float) -> bool:
    """Whether a long recovery is expected to leave far more than the budget of a size's drop."""
    return expected_drop(one, tried, plan) > HOPELESS * max(budget, LEAST_BUDGET)


def _leads_on(lowest: Tried, tried: Sequence[Tried], plan: Plan, budget: float) -> bool:
    if lowest.slow or lowest.drop <= budget:
        return True
    return plan.long > 0 and lowest.long is None and not is_hopeless(lowest, tried, plan, budget)


def _between(
    tried: Sequence[Tried], plan: Plan, budget: float, shares: tuple[float, float]
) -> Cut | Train | None:
    """Return the next move between the smallest size that keeps to the budget and the largest that failed."""
    top = shares[1]
    waiting = _waiting(tried, shares)
    hopeful = [one for one in waiting if expected_drop(one, tried, plan) <= budget]
    if plan.long and hopeful:
        return Train(min(one.share for one in hopeful))
    below = [one.share for one in _up_to_date(tried) if one.share < top * 0.999 and not one.slow]
    lower = max(below, default=None)
    if lower is None:
        if again := _cut_again(tried, plan, budget, shares):
            return again
    elif top / lower > plan.gap:
        return Cut((top * lower) ** 0.5)
    if (
        plan.long and waiting and top == 1.0
    ):  # nothing keeps to the budget: the nearest has a long recovery to show for it
        return Train(min(waiting, key=lambda one: one.short).share)
    return None


def _cut_again(tried: Sequence[Tried], plan: Plan, budget: float, shares: tuple[float, float]) -> Cut | None:
    """Return the outdated size to cut again: the smallest hopeful one, else the largest."""
    floor, top = shares
    cut = {one.share for one in _up_to_date(tried)}
    open_ones = [
        one for one in tried if floor < one.share < top / plan.gap and not one.slow and one.share not in cut
    ]
    if not open_ones:
        return None
    untrained = [one for one in open_ones if one.long is None]
    hopeful = [one.share for one in untrained if expected_drop(one, tried, plan) <= budget]
    return Cut(min(hopeful) if hopeful else max(one.share for one in open_ones))


def _against_odds(tried: Sequence[Tried], budget: float, shares: tuple[float, float]) -> Train | None:
    """Return a long recovery for the nearest size that the best one so far would have brought in."""
    best, floor = min(shares_left(tried), default=1.0), floor_of(tried)
    open_ones = [one for one in _waiting(tried, shares) if _drop_left(one, best, floor) <= budget]
    return Train(min(open_ones, key=lambda one: one.short).share) if open_ones else None


def _waiting(tried: Sequence[Tried], shares: tuple[float, float]) -> list[Tried]:
    """Return the sizes between two shares that have had no long recovery."""
    floor, top = shares
    untrained = [one for one in _up_to_date(tried) if one.long is None and not one.slow]
    return [one for one in untrained if floor < one.share < top * 0.999]
