"""How long the search for the budget takes: sizes and epochs by effort, cut down to the given hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from edgeprune.config.recipe import Recipe, SearchEffort
from edgeprune.pipeline.solve.moves import Plan

LAST = 0.1
"""The ladder ends where less than this share of what can be cut is left: there the least size follows."""
ANY = 0.5
"""The smallest share that can be reached, where it is not known yet; a plan's epochs hardly depend on it."""
GAPS = {"latency": 1.05, "macs": 1.15}
"""Two sizes whose costs differ by less than this factor have nothing worth trying between them."""
TRAINING = 0.85
"""Share of the time that is planned for training; cutting, judging and measuring take the rest."""
LEAST_EPOCHS = 4
"""Short recoveries of fewer epochs do harm: a network cut lightly fell from .5736 to .5332 in three."""
LEAST_LONG = 10
"""Of a long one. At the full rate three took .5147 to .3228 and sixteen .4095 to .5493; fewer than ten at a
gentle one were not measured."""
SHORTEST = 4
"""A short recovery is there to save time: none is made where a long one has not so many times its epochs."""
LEAST_FIRST = 0.25
"""Least share of `finetune.epochs` that a changed network has before any cut; with less it is not tried."""


@dataclass(frozen=True)
class Shape:
    """What an effort stands for.

    Attributes:
        stride: what a rung of the ladder leaves of what could still be cut.
        long: epochs of a long recovery over those of `finetune.epochs`.
        short: epochs of a short recovery over those of a long one, `LEAST_EPOCHS` if that is more.
        trainings: the most long recoveries, that of the size that is chosen among them.
    """

    stride: float
    long: float
    short: float
    trainings: int


SHAPES: Final[Mapping[SearchEffort, Shape]] = {
    "quick": Shape(stride=0.6, long=0.4, short=0.125, trainings=3),
    "standard": Shape(stride=0.7, long=1.0, short=0.1, trainings=5),
    "thorough": Shape(stride=0.8, long=2.0, short=0.1, trainings=7),
}


@dataclass(frozen=True)
class Pace:
    """What training takes here, measured on the uncut network.

    Attributes:
        epoch_s: seconds of an epoch with its evaluation.
        start_s: seconds before the first one.
    """

    epoch_s: float
    start_s: float

    def seconds(self, epochs: int) -> float:
        """Return what one training takes; none of no epochs."""
        return self.start_s + epochs * self.epoch_s if epochs else 0.0


def ladder(stride: float, least: float) -> tuple[float, ...]:
    """Return falling shares: at each rung `stride` of what could still be cut is left, `least` last.

    What no widths change (the decode, additions, reorders) is in every size, and takes no part in a step.

    Args:
        least: the smallest share that can be reached; of 1 there is nothing to cut.
    """
    shares = []
    left = stride
    while left > LAST:
        shares.append(round(least + (1 - least) * left, 4))
        left *= stride
    return (*(share for share in shares if share > least), least) if least < 1 else ()


def plan_search(
    recipe: Recipe,
    least: float,
    pace: Pace | None = None,
    seconds: float | None = None,
    gap: float = GAPS["macs"],
    changed: bool = False,
    rivals: int = 1,
) -> Plan:
    """Return the plan of a recipe's effort, shortened until it fits the time.

    Epochs are cut first, down to `LEAST_LONG` of a long recovery; then the ladder gets wider steps, then
    there are fewer long recoveries. Where not even one fits, nothing is trained.

    Args:
        least: the smallest share of the uncut network's cost that can be reached.
        pace: None where it was not measured.
        seconds: what there is for all of it; None where nothing bounds it.
        gap: of the kind of cost that shares are of, see `GAPS`.
        changed: whether passes changed the network before any cut, so that it is trained first.
        rivals: the most ways to one size that get a short recovery.
    """
    shape = SHAPES[recipe.solve.effort]
    long = round(recipe.finetune.epochs * shape.long) or min(recipe.finetune.epochs, 1)

    def planned(shape: Shape, long: int) -> Plan:
        short = max(LEAST_EPOCHS, round(long * shape.short)) if long >= SHORTEST * LEAST_EPOCHS else 0
        trainings = shape.trainings if long else 0
        first = long if changed else 0
        return Plan(ladder(shape.stride, least), short, long, trainings, gap, first, rivals)

    plan = planned(shape, long)
    if seconds is None or pace is None or not long:
        return plan
    while seconds_of(plan, pace) > TRAINING * seconds:
        over = TRAINING * max(0.0, seconds) / seconds_of(plan, pace)
        if plan.long > LEAST_LONG:
            plan = planned(shape, min(plan.long - 1, max(LEAST_LONG, int(plan.long * over))))
        elif len(plan.shares) > 2 and plan.short:
            shape = replace(shape, stride=shape.stride**1.5)
            plan = planned(shape, plan.long)
        elif plan.trainings > 1:
            shape = replace(shape, trainings=plan.trainings - 1)
            plan = planned(shape, plan.long)
        else:
            return planned(SHAPES[recipe.solve.effort], 0)
    return plan


def leaves_first(recipe: Recipe, pace: Pace, seconds: float) -> bool:
    """Whether the time is enough to train a changed network before any cut, and to search after that.

    Args:
        pace: of the network before the change: about that of the changed one.
        seconds: what there is for all of it.
    """
    plan = plan_search(recipe, ANY, pace, seconds, changed=True)
    return plan.first >= LEAST_FIRST * recipe.finetune.epochs


def seconds_of(plan: Plan, pace: Pace) -> float:
    """Return what all trainings of a plan take together, in seconds."""
    sizes = len(plan.shares) * plan.rivals * pace.seconds(plan.short)
    return pace.seconds(plan.first) + sizes + plan.trainings * pace.seconds(plan.long)
