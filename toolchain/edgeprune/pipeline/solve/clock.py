"""The time of a search: what it has spent, and what the rest of its plan is expected to take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from edgeprune.pipeline.solve.moves import Cut, Plan, Train, Tried, long_recoveries, rungs_left
from edgeprune.pipeline.solve.plan import Pace


@dataclass
class Clock:
    """What a search has spent.

    Attributes:
        pace: of training; None where it was not timed.
        now: the time in seconds. By that of `Store.now` stages that are reused take what they took when they
            were made, so a search that goes on after a kill has spent what it had spent before.
        until: when the time is up, by `now`; None where it is not bounded.
        begun: when the search began, by `time.monotonic`.
        epochs, training_s: of all trainings so far.
        beside: seconds that each size took beside its training.
        share: of the search that was done when it was asked for last; it never falls.
    """

    pace: Pace | None
    now: Callable[[], float]
    until: float | None = None
    begun: float = field(init=False)
    epochs: int = 0
    training_s: float = 0.0
    beside: list[float] = field(default_factory=list)
    share: float = 0.0

    def __post_init__(self) -> None:
        """Begin."""
        self.begun = time.monotonic()

    @contextmanager
    def training(self, epochs: int) -> Iterator[None]:
        """Count the epochs and the time of a training."""
        begun = self.now()
        yield
        self.training_s += self.now() - begun
        self.epochs += epochs

    @contextmanager
    def sizing(self) -> Iterator[None]:
        """Count what a size takes beside its training."""
        begun, trained = self.now(), self.training_s
        yield
        self.beside.append(self.now() - begun - (self.training_s - trained))

    def seconds(self, plan: Plan, *moves: Cut | Train) -> float:
        """Return what moves are expected to take: trainings at the pace, and what sizes took beside them."""
        beside = statistics.mean(self.beside) if self.beside else 0.0
        training = 0.0
        if self.pace is not None:
            cut, train = plan.rivals * self.pace.seconds(plan.short), self.pace.seconds(plan.long)
            training = sum(cut if isinstance(move, Cut) else train for move in moves)
        return len(moves) * beside + training

    def leaves(self, plan: Plan, *moves: Cut | Train) -> bool:
        """Whether there is time for moves."""
        return self.until is None or self.now() + self.seconds(plan, *moves) <= self.until

    def share_done(self, tried: Sequence[Tried], plan: Plan, budget: float) -> float:
        """Return what share of the search is done, by time; by epochs where no pace is known."""
        self.share = max(self.share, min(0.99, self._share(tried, plan, budget)))
        return self.share

    def _share(self, tried: Sequence[Tried], plan: Plan, budget: float) -> float:
        if self.pace is None:
            return self.epochs / max(1, plan.epochs)
        spent, left = time.monotonic() - self.begun, self._left(tried, plan, budget, self.pace)
        return spent / (spent + left) if spent else 0.0

    def _left(self, tried: Sequence[Tried], plan: Plan, budget: float, pace: Pace) -> float:
        """Return what the rest of the plan takes at most: the ladder, and all long recoveries."""
        cuts = [Cut(share) for share in rungs_left(tried, plan, budget)]
        trainings = max(0, plan.trainings - long_recoveries(tried))
        first = 0.0 if tried else pace.seconds(plan.first)
        left = first + self.seconds(plan, *cuts, *[Train(0.0)] * trainings)
        return left if self.until is None else min(left, max(0.0, self.until - self.now()))
