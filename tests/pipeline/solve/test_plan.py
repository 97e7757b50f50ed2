"""The plan of a search: a ladder that reaches its end, and epochs that fit the hours."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.config.recipe import load_recipe
from edgeprune.pipeline.solve.plan import (
    LEAST_EPOCHS,
    LEAST_FIRST,
    LEAST_LONG,
    SHORTEST,
    TRAINING,
    Pace,
    ladder,
    leaves_first,
    plan_search,
    seconds_of,
)


@given(stride=st.floats(0.5, 0.9), least=st.floats(0.01, 0.99))
def test_a_ladder_falls_from_step_to_step_to_the_least_share(stride: float, least: float) -> None:
    shares = ladder(stride, least)
    assert shares[-1] == least
    assert all(left > right for left, right in pairwise(shares))
    steps = [(left - right) / (left - least) for left, right in pairwise((1.0, *shares[:-1]))]
    assert steps == pytest.approx([1 - stride] * len(steps), abs=0.02) or least > 0.9


def test_nothing_that_can_be_cut_is_an_empty_ladder() -> None:
    assert ladder(0.7, 1.0) == ()


@pytest.mark.parametrize("effort", ["quick", "standard", "thorough"])
@given(hours=st.floats(0.05, 20), epoch_s=st.floats(0.5, 300), start_s=st.floats(0, 20))
def test_a_plan_fits_its_hours_or_trains_nothing(
    effort: str, hours: float, epoch_s: float, start_s: float
) -> None:
    pace = Pace(epoch_s, start_s)
    plan = plan_search(load_recipe(solve__effort=effort), 0.1, pace, hours * 3600)
    assert plan.shares and seconds_of(plan, pace) <= TRAINING * hours * 3600
    assert plan.short == 0 or LEAST_EPOCHS <= plan.short <= plan.long / SHORTEST
    trains = plan.long >= LEAST_LONG and plan.trainings >= 1
    assert trains or plan.epochs == 0
    assert trains == (pace.seconds(LEAST_LONG) <= TRAINING * hours * 3600)
    if not plan.short:  # a size that is not trained costs no epochs
        assert len(plan.shares) == len(plan_search(load_recipe(solve__effort=effort), 0.1).shares)


@given(hours=st.floats(0.05, 20), epoch_s=st.floats(0.5, 300), start_s=st.floats(0, 20))
def test_a_changed_network_is_tried_where_the_hours_leave_it_a_training(
    hours: float, epoch_s: float, start_s: float
) -> None:
    recipe, pace = load_recipe(), Pace(epoch_s, start_s)
    plan = plan_search(recipe, 0.3, pace, hours * 3600, changed=True)
    assert leaves_first(recipe, pace, hours * 3600) == (plan.first >= LEAST_FIRST * recipe.finetune.epochs)
    assert not leaves_first(recipe, pace, 3 * epoch_s)


def test_more_effort_tries_more_sizes_and_trains_them_longer() -> None:
    plans = [
        plan_search(load_recipe(solve__effort=effort), 0.1) for effort in ("quick", "standard", "thorough")
    ]
    for less, more in pairwise(plans):
        assert len(less.shares) < len(more.shares)
        assert less.long < more.long and less.epochs < more.epochs


def test_without_epochs_nothing_is_trained() -> None:
    plan = plan_search(load_recipe(finetune__epochs=0, solve__effort="quick"), 0.1)
    assert (plan.short, plan.long, plan.trainings, plan.epochs) == (0, 0, 0, 0)
    assert plan.shares
