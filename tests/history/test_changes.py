"""Change points: found where the level moves, not where it does not, at the rate that is stated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.history.changes import ALPHA, LEAST_SIDE, change_points

NOISES = {
    "quiet": lambda rng, n: 1 + 0.01 * rng.standard_normal(n),
    "heavy tails": lambda rng, n: 1 + 0.02 * np.abs(rng.standard_t(2, n)),
    "two modes": lambda rng, n: 1 + 0.2 * (rng.random(n) < 0.3) + 0.005 * rng.standard_normal(n),
    "in steps of the clock": lambda rng, n: np.round(1 + 0.02 * rng.standard_normal(n), 2),
}


@pytest.mark.parametrize("noise", NOISES)
def test_a_level_that_never_moves_shows_a_change_no_more_often_than_stated(noise: str) -> None:
    rng = np.random.default_rng(7)
    series = [NOISES[noise](rng, 30) for _ in range(300)]
    alarms = sum(bool(change_points(list(values))) for values in series)
    # 300 draws at 1 %: more than 8 have a chance of 0.4 %.
    assert alarms <= 8, f"{alarms} of 300 at alpha {ALPHA}"


@pytest.mark.parametrize("shift", [0.92, 1.05])
def test_a_shift_in_noise_is_found_where_it_is(shift: float) -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(60):
        values = NOISES["quiet"](rng, 30)
        values[20:] *= shift
        found.append(change_points(list(values)))
    assert sum(len(changes) == 1 for changes in found) >= 57
    near = [changes[0] for changes in found if changes]
    assert sum(abs(change.index - 20) <= 1 for change in near) >= 57
    assert np.median([change.share for change in near]) == pytest.approx(shift - 1, abs=0.01)


def test_several_levels_are_told_apart_and_each_measured_up_to_its_own_ends() -> None:
    rng = np.random.default_rng(5)
    levels = np.repeat([10.0, 12.0, 9.0], 12)
    changes = change_points(list(levels * (1 + 0.01 * rng.standard_normal(36))))
    assert [change.index for change in changes] == [12, 24]
    assert [round(change.after) for change in changes] == [12, 9]
    assert changes[0].share == pytest.approx(0.2, abs=0.02)


def test_a_slow_down_that_was_taken_back_is_found_at_both_ends() -> None:
    rng = np.random.default_rng(9)
    found = []
    for _ in range(40):
        values = NOISES["quiet"](rng, 36)
        values[12:24] *= 1.1
        found.append([change.index for change in change_points(list(values))])
    near = [ends for ends in found if len(ends) == 2 and abs(ends[0] - 12) <= 1 and abs(ends[1] - 24) <= 1]
    assert all(found)
    assert len(near) >= 34, found  # 92 % of 120 such series


@pytest.mark.parametrize(("runs", "changes"), [(11, 0), (12, 1)])
def test_the_fewest_runs_that_can_show_a_change(runs: int, changes: int) -> None:
    values = [1000.0 * (index >= runs // 2) + index for index in range(runs)]
    assert len(change_points(values)) == changes


@pytest.mark.parametrize("seed", range(6))
def test_a_long_series_is_cut_where_it_changes(seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(700)
    values[200:] += 5
    values[400:500] -= 5
    assert [change.index for change in change_points(list(values))] == pytest.approx([200, 400, 500], abs=1)


def test_one_slow_run_is_no_level() -> None:
    rng = np.random.default_rng(6)
    values = 1 + 0.01 * rng.standard_normal(30)
    values[17] = 5.0
    assert change_points(list(values)) == ()


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 9.0, 9.0, 9.0, 9.0], [1.0] * 40])
def test_too_few_runs_or_no_difference_say_nothing(values: list[float]) -> None:
    assert change_points(values) == ()


@settings(max_examples=25)
@given(st.lists(st.floats(0.1, 1000), max_size=24), st.floats(0.01, 100))
def test_the_unit_of_the_values_changes_nothing(values: list[float], unit: float) -> None:
    plain, scaled = change_points(values), change_points([value * unit for value in values])
    if len({value * unit for value in values}) == len(set(values)):
        assert [change.index for change in scaled] == [change.index for change in plain]
    for change in plain:
        assert LEAST_SIDE <= change.index <= len(values) - LEAST_SIDE
        assert change.p_value <= ALPHA
