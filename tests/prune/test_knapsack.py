"""The knapsack over widths: within the budget, on the step, and better than equal shares."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.core.errors import BudgetError
from edgeprune.prune.knapsack import allot, width_options


@given(st.integers(1, 512), st.sampled_from([1, 8, 16, 32]), st.floats(0.05, 0.95))
def test_options_are_on_the_step_and_above_the_floor(width: int, step: int, max_ratio: float) -> None:
    options = width_options(width, step, max_ratio)
    assert options == sorted(set(options))
    assert options[-1] == width
    assert all(option % step == 0 or option == width for option in options)
    assert all(option > 0 and option >= width * (1 - max_ratio) for option in options)


class Chain:
    """A chain of layers whose latency is the product of the widths on both sides, in steps of 16."""

    def __init__(self, widths: Mapping[str, int], factor: Mapping[str, float]) -> None:
        self.widths, self.factor = dict(widths), dict(factor)

    def __call__(self, keep: Mapping[str, int]) -> float:
        before, total = 16.0, 0.5
        for name in self.widths:
            width = -(-keep[name] // 16) * 16
            total += self.factor[name] * before * width / 1e4
            before = width
        return total


def network(seed: int, groups: int) -> tuple[dict[str, list[float]], dict[str, list[int]], Chain]:
    random = np.random.default_rng(seed)
    widths = {f"g{i}": int(random.integers(2, 9)) * 16 for i in range(groups)}
    scores = {name: (random.random(width) ** 3 + 0.01).tolist() for name, width in widths.items()}
    options = {name: width_options(width, 16, 0.75) for name, width in widths.items()}
    return scores, options, Chain(widths, {name: float(random.uniform(0.2, 5)) for name in widths})


@given(st.integers(0, 10_000), st.integers(1, 7), st.floats(0.35, 1.1))
@settings(max_examples=25, deadline=None)
def test_the_widths_keep_to_the_budget(seed: int, groups: int, share: float) -> None:
    scores, options, chain = network(seed, groups)
    budget = chain(chain.widths) * share
    least = chain({name: widths[0] for name, widths in options.items()})
    if least > budget:
        with pytest.raises(BudgetError, match="no widths reach"):
            allot(scores, options, chain, budget)
        return
    found = allot(scores, options, chain, budget)
    assert found.cost == pytest.approx(chain(found.keep))
    assert found.cost <= budget
    assert all(found.keep[name] in options[name] for name in options)
    assert 0 < found.importance <= 1


def test_it_comes_close_to_the_best_of_all_widths() -> None:
    shares = []
    for seed in range(6):
        scores, options, chain = network(seed, 4)
        budget = chain(chain.widths) * 0.6
        found = allot(scores, options, chain, budget)
        ranked = {name: np.cumsum(np.sort(s)[::-1]) for name, s in scores.items()}

        def kept(widths: tuple[int, ...]) -> float:
            return sum(ranked[name][width - 1] for name, width in zip(options, widths, strict=True))  # noqa: B023

        every = itertools.product(*options.values())
        best = max(kept(w) for w in every if chain(dict(zip(options, w, strict=True))) <= budget)
        shares.append(kept(tuple(found.keep.values())) / best)
    assert min(shares) > 0.95
    assert np.mean(shares) > 0.98


def test_a_costly_group_goes_before_a_cheap_one_of_equal_importance() -> None:
    widths = {"dear": 64, "cheap": 64}
    chain = Chain(widths, {"dear": 5.0, "cheap": 0.1})
    scores = {name: [1.0] * 64 for name in widths}
    options = {name: width_options(64, 16, 0.75) for name in widths}
    found = allot(scores, options, chain, chain(widths) * 0.7)
    assert found.keep["dear"] < found.keep["cheap"]


def test_an_easy_budget_prunes_nothing() -> None:
    scores, options, chain = network(1, 3)
    assert allot(scores, options, chain, 1e9).keep == chain.widths


def test_an_impossible_budget_names_the_fastest_reachable() -> None:
    scores, options, chain = network(1, 3)
    least = chain({name: widths[0] for name, widths in options.items()})
    with pytest.raises(BudgetError, match=rf"predicted to be {least:.2f} ms"):
        allot(scores, options, chain, 0.01)
