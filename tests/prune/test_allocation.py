"""Widths: on the step, never 0, never above the original or past the bound; goals by the smallest ratio."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgeprune.core.errors import ConfigError
from edgeprune.prune.allocation import (
    channels_to_remove,
    find_limit,
    on_step,
    own_ratios,
    smallest_ratio,
    widths,
)
from edgeprune.prune.groups import Group, find_groups, trace

STEPS = st.sampled_from((1, 4, 8, 16, 32))
RATIOS = st.floats(0, 0.99)
BOUNDS = st.floats(0.01, 0.99)


def scores_of(widths: list[int], seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(width, generator=generator) * 10**index for index, width in enumerate(widths)]


@given(st.floats(0, 600), STEPS, st.integers(1, 512))
def test_on_step_is_the_nearest_allowed_width(width: float, step: int, original: int) -> None:
    kept = on_step(width, step, original)
    assert 0 < kept <= original
    assert kept == original or kept % step == 0
    allowed = [*range(step, original + 1, step), original]
    assert abs(kept - width) <= min(abs(choice - width) for choice in allowed) + step / 2


@pytest.mark.parametrize(
    ("width", "step", "original", "kept"),
    [
        (48, 8, 64, 48),
        (44, 8, 64, 40),
        (45, 8, 64, 48),
        (43, 8, 64, 40),
        (0, 8, 64, 8),
        (3, 8, 6, 6),
        (20, 16, 24, 16),
    ],
)
def test_on_step_by_example(width: float, step: int, original: int, kept: int) -> None:
    assert on_step(width, step, original) == kept


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """Groups of any widths and scores, ties among them, in any classes, some with a ratio of their own."""
    names = [f"g{index}" for index in range(draw(st.integers(1, 12)))]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    levels = draw(st.sampled_from((1, 3, 10**6)))
    scores = {
        name: torch.randint(levels, (draw(st.integers(1, 256)),), generator=generator) / levels
        for name in names
    }
    return {
        "scores": scores,
        "classes": {name: draw(st.integers(0, 2)) for name in names},
        "step": draw(STEPS),
        "max_ratio": draw(BOUNDS),
        "own": {name: draw(RATIOS) for name in names if draw(st.booleans())},
    }


@given(cases(), RATIOS)
def test_widths_are_on_the_step_and_never_past_the_bound(case: dict[str, Any], ratio: float) -> None:
    kept = widths(ratio=ratio, **case)
    assert list(kept) == list(case["scores"])
    for name, new in kept.items():
        old = len(case["scores"][name])
        assert 0 < new <= old
        assert new == old or new % case["step"] == 0
        assert new >= old * (1 - case["max_ratio"]) - 1e-9


@given(cases(), RATIOS, RATIOS)
def test_a_larger_ratio_never_keeps_more(case: dict[str, Any], one: float, other: float) -> None:
    more, less = (widths(ratio=ratio, **case) for ratio in sorted((one, other)))
    assert all(less[name] <= more[name] for name in more)


@given(cases())
def test_ratio_zero_only_rounds_but_for_what_has_a_ratio_of_its_own(case: dict[str, Any]) -> None:
    kept = widths(ratio=0, **case)
    for name in case["scores"].keys() - case["own"].keys():
        assert len(case["scores"][name]) - kept[name] <= case["step"] / 2


def test_shares_may_be_of_the_widths_before_earlier_cuts() -> None:
    scores, classes = {"a": torch.arange(24.0), "b": torch.arange(24.0) + 9}, {"a": 0, "b": 0}
    before = {"a": 32, "b": 32}
    assert widths(scores, classes, 0.25, 8, 0.9, before=before) == {"a": 24, "b": 24}  # lost already
    assert widths(scores, classes, 0.5, 8, 0.9, before=before) == {"a": 8, "b": 24}
    assert widths(scores, classes, 0.9, 8, 0.5, before=before) == {"a": 16, "b": 16}


def test_no_groups_have_no_widths() -> None:
    assert widths({}, {}, 0.5, 8, 0.75) == {}


EVEN = torch.linspace(0.9, 1.1, 64)
PEAKED = torch.cat([torch.linspace(0.01, 0.02, 32), torch.linspace(0.9, 1.1, 32)])


def test_one_class_takes_from_the_group_with_more_unimportant_channels() -> None:
    scores, classes = {"even": EVEN, "peaked": PEAKED}, dict.fromkeys(("even", "peaked"))
    assert widths(scores, classes, ratio=0.25, step=8, max_ratio=0.9) == {"even": 64, "peaked": 32}


def test_classes_of_their_own_each_lose_the_ratio() -> None:
    scores, classes = {"even": EVEN, "peaked": PEAKED}, {"even": 0, "peaked": 1}
    assert widths(scores, classes, ratio=0.25, step=8, max_ratio=0.9) == {"even": 48, "peaked": 48}


def test_channels_are_ranked_only_within_their_class() -> None:
    scores = {"a": EVEN, "b": PEAKED, "c": EVEN / 1000}  # unimportant, but of another kind
    kept = widths(scores, {"a": "conv", "b": "conv", "c": "residual"}, ratio=0.25, step=8, max_ratio=0.9)
    assert kept == {"a": 64, "b": 32, "c": 48}


def test_a_group_with_a_ratio_of_its_own_is_not_ranked_with_the_others() -> None:
    scores, classes = {"a": EVEN, "b": PEAKED, "c": EVEN / 1000}, dict.fromkeys("abc")
    kept = widths(scores, classes, ratio=0.25, step=8, max_ratio=0.9, own={"c": 0.5})
    assert kept == {"a": 64, "b": 32, "c": 32}


def test_equal_scores_do_not_keep_a_group_from_being_pruned() -> None:
    """Sparse training brings whole groups to 0."""
    scores = {"dead": torch.zeros(64), "alive": torch.ones(64)}
    assert widths(scores, dict.fromkeys(scores), 0.25, 8, 0.9) == {"dead": 32, "alive": 64}


@pytest.fixture(scope="module")
def chain() -> list[Group]:
    model = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()) for _ in range(4)))
    fixed = [model[3][0]]
    return find_groups(trace(model, torch.rand(1, 3, 4, 4), fixed), model, fixed)


@pytest.mark.parametrize(
    ("ratios", "own"),
    [
        ({}, {}),
        ({"1.0": 0.2}, {"1.0": 0.2}),
        ({"1": 0.2}, {"1.0": 0.2}),
        ({"*": 0.2, "2.*": 0.4}, {"0.0": 0.2, "1.0": 0.2, "2.0": 0.4}),
        ({"2.*": 0.4, "*": 0.2}, {"0.0": 0.2, "1.0": 0.2, "2.0": 0.2}),
    ],
)
def test_patterns_name_layers_or_blocks_and_the_last_one_wins(
    chain: list[Group], ratios: dict[str, float], own: dict[str, float]
) -> None:
    assert own_ratios(chain, ratios) == own


@pytest.mark.parametrize("pattern", ["9.*", "3.0", "0.1", ""])
def test_a_pattern_that_names_nothing_prunable_is_an_error(chain: list[Group], pattern: str) -> None:
    with pytest.raises(ConfigError) as caught:
        own_ratios(chain, {pattern: 0.3})
    assert str(caught.value) == f"prune.ratios: {pattern!r} names no layer that can be pruned"


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


@given(cases())
def test_up_to_the_limit_one_threshold_leaves_no_layer_empty(case: dict[str, Any]) -> None:
    scores = case["scores"]
    limit = find_limit(scores)
    left = {name: int((score >= limit.threshold).sum()) for name, score in scores.items()}
    total = sum(map(len, scores.values()))
    assert min(left.values()) >= 1
    assert limit.ratio == pytest.approx(1 - sum(left.values()) / total)
    above = {name: int((score > limit.threshold).sum()) for name, score in scores.items()}
    assert above[limit.layer] == 0  # any higher, and this one is empty


@given(cases())
def test_a_cut_at_the_limit_keeps_what_the_threshold_keeps(case: dict[str, Any]) -> None:
    """As people slim YOLOv5: unrounded, all layers ranked together, no other bound."""
    scores = case["scores"]
    limit = find_limit(scores)
    keep = widths(scores, dict.fromkeys(scores), limit.ratio, 1, 0.999)
    for name, score in scores.items():
        assert keep[name] >= 1
        assert keep[name] == max(1, int((score >= limit.threshold).sum()))
