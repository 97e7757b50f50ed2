"""The time of a search: what it spent on trainings and beside them, and what it expects of the rest."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edgeprune.pipeline.solve import clock as timing
from edgeprune.pipeline.solve.clock import Clock
from edgeprune.pipeline.solve.moves import Cut, Plan, Train, Tried
from edgeprune.pipeline.solve.plan import Pace

PLAN = Plan((0.7, 0.5), short=6, long=60, trainings=2, gap=1.05, first=10, rivals=2)
PACE = Pace(epoch_s=10.0, start_s=5.0)
BUDGET = 0.01


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return the time, to be moved on."""
    moment = SimpleNamespace(s=1000.0, read=lambda: moment.s)
    monkeypatch.setattr(timing, "time", SimpleNamespace(monotonic=moment.read))
    return moment


def test_a_size_takes_its_trainings_and_what_sizes_took_beside_them(now: SimpleNamespace) -> None:
    clock = Clock(PACE, now.read)
    with clock.sizing():
        now.s += 20
        with clock.training(6):
            now.s += 65
        now.s += 10
    assert (clock.beside, clock.training_s, clock.epochs) == ([30.0], 65.0, 6)
    assert clock.seconds(PLAN, Cut(0.5)) == 30 + 2 * 65
    assert clock.seconds(PLAN, Cut(0.5), Train(0.5)) == 30 + 2 * 65 + 30 + 605
    assert Clock(None, now.read).seconds(PLAN, Train(0.5)) == 0


def test_there_is_time_for_what_ends_before_it_is_up(now: SimpleNamespace) -> None:
    clock = Clock(PACE, now.read, until=1700.0)
    assert clock.leaves(PLAN, Train(0.5)) and not clock.leaves(PLAN, Train(0.5), Cut(0.5))
    now.s += 100
    assert not clock.leaves(PLAN, Train(0.5))
    assert Clock(PACE, now.read).leaves(PLAN, *[Train(0.5)] * 9)


def test_the_share_is_that_of_the_time_until_all_of_the_plan_is_done(now: SimpleNamespace) -> None:
    clock = Clock(PACE, now.read)
    whole = 105 + 2 * 130 + 2 * 605
    assert clock.share_done([], PLAN, BUDGET) == 0
    now.s += 105
    uncut = Tried(1.0, 0.001)
    assert clock.share_done([uncut], PLAN, BUDGET) == pytest.approx(105 / whole)
    now.s += 130
    hopeless = Tried(0.7, 0.5)  # nothing smaller is tried
    assert clock.share_done([uncut, hopeless], PLAN, BUDGET) == pytest.approx(235 / (235 + 1210))
    now.s += 3000
    tried = [uncut, Tried(0.7, 0.5, 0.4), Tried(0.85, 0.1, 0.05)]
    assert clock.share_done(tried, PLAN, BUDGET) == 0.99


def test_the_hours_bound_what_is_left_and_the_share_never_falls(now: SimpleNamespace) -> None:
    clock = Clock(PACE, now.read, until=1200.0)
    now.s += 100
    assert clock.share_done([], PLAN, BUDGET) == 0.5
    clock.until = None
    assert clock.share_done([], PLAN, BUDGET) == 0.5


def test_without_a_pace_the_epochs_tell_the_share(now: SimpleNamespace) -> None:
    clock = Clock(None, now.read)
    with clock.training(22):
        now.s += 1
    assert clock.share_done([], PLAN, BUDGET) == pytest.approx(22 / PLAN.epochs)
