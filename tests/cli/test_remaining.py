"""The time left of a stage: true of a steady pace, whatever went before under its name or on the clock."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.cli.remaining import LEAST_SECONDS, LEAST_SHARE, Remaining, duration

Reports = list[tuple[float, float]]

whole = st.floats(30, 1e6)  # seconds that a whole stage takes
counts = st.integers(5, 60)


def steady(start: float, seconds: float, reports: int, first: float = 0.0) -> Reports:
    """Return the reports of a stage from a share to its end at an even pace, `seconds` for the whole."""
    shares = [first + (1 - first) * index / reports for index in range(reports + 1)]
    return [(start + (share - first) * seconds, share) for share in shares]


def shown(reports: Reports, estimate: Remaining | None = None) -> list[float | None]:
    estimate = estimate or Remaining()
    return [estimate.report(now, share) for now, share in reports]


def check(reports: Reports, seconds: float, answers: list[float | None]) -> None:
    """What is shown is what is left, and it is shown as soon as there is enough to go by."""
    begun = reports[0]
    for (now, share), left in zip(reports, answers, strict=True):
        enough = now - begun[0] > 1.01 * LEAST_SECONDS and share - begun[1] > 1.01 * LEAST_SHARE
        assert left is not None or not enough or share >= 1
        assert left is None or left == pytest.approx((1 - share) * seconds, rel=1e-3, abs=1e-3)


@given(whole, counts, st.floats(0, 0.9), st.floats(0, 1e6))
def test_a_steady_stage_tells_what_is_left_from_wherever_it_goes_on(
    seconds: float, reports: int, first: float, start: float
) -> None:
    told = steady(start, seconds, reports, first)
    check(told, seconds, shown(told))


@given(st.lists(st.tuples(whole, counts, st.floats(0, 1e6)), min_size=2, max_size=4))
def test_the_same_stage_for_another_target_starts_anew(runs: list[tuple[float, int, float]]) -> None:
    """With anything in between: an export, a benchmark of minutes."""
    estimate, now = Remaining(), 0.0
    for seconds, reports, between in runs:
        told = steady(now + between, seconds, reports, first=1 / 400)  # after the first batch
        check(told, seconds, shown(told, estimate))
        now = told[-1][0]


@given(whole, counts, st.floats(0.05, 0.8))
def test_what_was_in_the_cache_is_no_measure_of_what_is_not(
    seconds: float, reports: int, cached: float
) -> None:
    told = steady(0.01, seconds, reports, first=cached)
    check(told, seconds, shown([(0.0, 0.0), *told])[1:])


@given(whole, counts, st.sampled_from([-1e5, -10.0, 1e9]))
def test_a_jump_of_the_clock_is_no_work(seconds: float, reports: int, jump: float) -> None:
    """Back by a little or a lot, or on by years: the laptop slept."""
    told = steady(0.0, seconds, 2 * reports)
    before, after = told[:reports], [(now + jump, share) for now, share in told[reports:]]
    if jump < 0 and after[0][0] >= before[-1][0]:  # too small to be seen as one
        return
    estimate = Remaining()
    shown(before, estimate)
    check(after, seconds, shown(after, estimate))


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(0, 1)), max_size=40))
def test_whatever_is_reported_nothing_absurd_is_shown(reports: Reports) -> None:
    estimate = Remaining()
    times = [now for now, _ in reports]
    for (_, share), left in zip(reports, shown(reports, estimate), strict=True):
        assert left is None or (math.isfinite(left) and share < 1)
        assert left is None or 0 < left <= (max(times) - min(times)) / LEAST_SHARE


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (45.4, "45 s"), (59.7, "1 min"), (80, "1 min 20 s"), (599.6, "10 min"), (754, "13 min"),
     (4790, "1 h 20 min"), (3599, "1 h"), (86399, "1 d"), (100000, "1 d 3 h"), (790392, "9 d 3 h")],
)  # fmt: skip
def test_a_duration_is_said_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
