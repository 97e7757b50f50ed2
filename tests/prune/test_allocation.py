"""Widths: on the step, never 0, never above the original or past the bound; goals by the smallest ratio."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.errors import ConfigError
from edgeprune.prune.allocation import (
    channels_to_remove,
    global_widths,
    local_widths,
    on_step,
    smallest_ratio,
)

STEPS = st.sampled_from((1, 4, 8, 16, 32))
WIDTHS = st.lists(st.integers(1, 512), min_size=1, max_size=12)
RATIOS = st.floats(0, 0.99)
BOUNDS = st.floats(0.01, 0.99)


def scores_of(widths: list[int], seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(width, generator=generator) * 10**index for index, width in enumerate(widths)]


def assert_sound(before: list[int], after: list[int], step: int, max_ratio: float) -> None:
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        assert 0 < new <= old
        assert new == old or new % step == 0
        assert new >= old * (1 - max_ratio) - 1e-9


@given(st.floats(0, 600), STEPS, st.integers(1, 512))
def test_on_step_is_the_nearest_allowed_width(width: float, step: int, original: int) -> None:
    kept = on_step(width, step, original)
    assert 0 < kept <= original
    assert kept == original or kept % step == 0
    allowed = [*range(step, original + 1, step), original]
    assert abs(kept - width) <= min(abs(choice - width) for choice in allowed) + step / 2


@pytest.mark.parametrize(
    ("width", "step", "original", "kept"),
    [(48, 8, 64, 48), (44, 8, 64, 48), (43, 8, 64, 40), (0, 8, 64, 8), (3, 8, 6, 6), (20, 16, 24, 16)],
)
def test_on_step_by_example(width: float, step: int, original: int, kept: int) -> None:
    assert on_step(width, step, original) == kept


@given(WIDTHS, RATIOS, STEPS, BOUNDS)
def test_local_widths_are_sound(widths: list[int], ratio: float, step: int, max_ratio: float) -> None:
    assert_sound(widths, local_widths(widths, ratio, step, max_ratio), step, max_ratio)


@given(WIDTHS, RATIOS, STEPS, BOUNDS, st.integers(0, 9))
def test_global_widths_are_sound(
    widths: list[int], ratio: float, step: int, max_ratio: float, seed: int
) -> None:
    assert_sound(widths, global_widths(scores_of(widths, seed), ratio, step, max_ratio), step, max_ratio)


@given(WIDTHS, RATIOS, RATIOS, STEPS, BOUNDS, st.integers(0, 9))
def test_a_larger_ratio_never_keeps_more(
    widths: list[int], one: float, other: float, step: int, max_ratio: float, seed: int
) -> None:
    low, high = sorted((one, other))
    scores = scores_of(widths, seed)
    for allot in (
        lambda ratio: local_widths(widths, ratio, step, max_ratio),
        lambda ratio: global_widths(scores, ratio, step, max_ratio),
    ):
        assert all(less <= more for less, more in zip(allot(high), allot(low), strict=True))


@given(WIDTHS, STEPS, BOUNDS, st.integers(0, 9))
def test_ratio_zero_keeps_what_lies_on_the_step(
    widths: list[int], step: int, max_ratio: float, seed: int
) -> None:
    aligned = [width * step for width in widths]
    assert global_widths(scores_of(aligned, seed), 0, step, max_ratio) == aligned
    assert local_widths(aligned, 0, step, max_ratio) == aligned


def test_no_groups_have_no_widths() -> None:
    assert global_widths([], 0.5, 8, 0.75) == local_widths([], 0.5, 8, 0.75) == []


def test_global_takes_from_the_group_with_more_unimportant_channels() -> None:
    even = torch.linspace(0.9, 1.1, 64)
    peaked = torch.cat([torch.linspace(0.01, 0.02, 32), torch.linspace(0.9, 1.1, 32)])
    assert global_widths([even, peaked], ratio=0.25, step=8, max_ratio=0.9) == [64, 32]


def test_global_does_not_compare_raw_sizes_of_scores() -> None:
    score = torch.rand(64, generator=torch.Generator().manual_seed(0))
    small, large = global_widths([score, score * 1000], ratio=0.5, step=8, max_ratio=0.9)
    assert small == large == 32


@given(st.lists(st.integers(1, 64), min_size=1, max_size=5), st.integers(0, 9), st.data())
def test_the_least_important_channels_go(widths: list[int], seed: int, data: st.DataObject) -> None:
    scores = {str(index): score for index, score in enumerate(scores_of(widths, seed))}
    keep = {name: data.draw(st.integers(1, len(score))) for name, score in scores.items()}
    doomed = channels_to_remove(scores, keep)
    assert set(doomed) == {name for name in scores if keep[name] < len(scores[name])}
    for name, channels in doomed.items():
        assert channels == sorted(set(channels))
        assert len(scores[name]) - len(channels) == keep[name]
        kept = [index for index in range(len(scores[name])) if index not in channels]
        assert scores[name][channels].max() <= scores[name][kept].min()


@given(st.floats(0.05, 0.95), st.floats(0.5, 0.95), st.floats(0.5, 3))
def test_the_smallest_ratio_reaches_the_goal_and_a_little_less_does_not(
    goal: float, upper: float, power: float
) -> None:
    def measure(ratio: float) -> float:
        return float((1 - ratio) ** power)

    if measure(upper) > goal:
        with pytest.raises(ConfigError, match=f"leaves {measure(upper):.3f}"):
            smallest_ratio(measure, goal, upper, "prune.macs")
        return
    ratio = smallest_ratio(measure, goal, upper, "prune.macs")
    assert 0 < ratio <= upper
    assert measure(ratio) <= goal
    assert measure(ratio - upper / 2**7) > goal


def test_more_probes_cost_more_measurements_and_no_ratio_twice() -> None:
    asked: list[float] = []
    smallest_ratio(lambda ratio: asked.append(ratio) or 1 - ratio, 0.5, 0.75, "prune.speedup", probes=4)
    assert len(asked) == len(set(asked)) == 5
