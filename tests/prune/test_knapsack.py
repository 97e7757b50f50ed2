"""The knapsack over widths and blocks: within the budget, on the step, and better than equal shares."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.core.errors import BudgetError
from edgeprune.prune.knapsack import Allotment, Block, allot, width_options


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


def with_blocks(seed: int, groups: int) -> tuple[dict[str, list[float]], dict[str, list[int]], Any, Any]:
    """Return a chain in which some stretches are blocks: without one, nothing in it costs anything."""
    scores, options, chain = network(seed, groups)
    random = np.random.default_rng(seed)
    names = list(scores)
    blocks = {
        f"b{i}": Block(float(random.uniform(0.2, 1.5) * sum(scores[names[i]])), (names[i],))
        for i in range(0, groups, 2)
    }
    if groups > 2:
        blocks["outer"] = Block(blocks["b0"].loss * 1.3, (names[0], "b0", names[1]))

    def cost(keep: Mapping[str, int]) -> float:
        gone = {inner for name, block in blocks.items() if keep.get(name) == 0 for inner in block.inside}
        left = {name: width for name, width in chain.widths.items() if name not in gone}
        joins = sum(name not in gone and keep.get(name) != 0 for name in blocks)
        return Chain(left, chain.factor)(keep) + 0.01 * joins

    return scores, options, blocks, cost


def lost(found: Allotment, scores: Any, blocks: Mapping[str, Block]) -> float:
    """Return what an allotment loses: each dropped block once, and nothing of what is inside it."""
    widths = sum(sum(sorted(scores[name])[: len(scores[name]) - kept]) for name, kept in found.keep.items())
    return float(widths + sum(blocks[name].loss for name in found.dropped))


@given(st.integers(0, 10_000), st.integers(1, 6), st.floats(0.2, 1.0))
@settings(max_examples=25, deadline=None)
def test_blocks_keep_to_the_budget_and_lose_no_more_than_widths_alone(
    seed: int, groups: int, share: float
) -> None:
    scores, options, blocks, cost = with_blocks(seed, groups)
    budget = cost({name: widths[-1] for name, widths in options.items()}) * share
    try:
        found = allot(scores, options, cost, budget, blocks=blocks)
    except BudgetError:
        with pytest.raises(BudgetError):
            allot(scores, options, cost, budget)
        return
    assert found.cost <= budget
    assert cost({**found.keep, **gone(found, blocks, options)}) == pytest.approx(found.cost)
    inside = {inner for name in found.dropped for inner in blocks[name].inside}
    assert set(found.keep) == set(options) - inside and not inside & set(found.dropped)
    everything = sum(map(sum, scores.values())) + sum(block.loss for block in blocks.values())
    assert found.importance == pytest.approx(1 - lost(found, scores, blocks) / everything)
    try:
        alone = allot(scores, options, cost, budget)
    except BudgetError:
        return
    assert lost(found, scores, blocks) <= lost(alone, scores, blocks) + 1e-9 * everything


def gone(found: Allotment, blocks: Mapping[str, Block], options: Mapping[str, list[int]]) -> dict[str, int]:
    """Return the blocks that went as widths of 0, with any widths for what was in them."""
    inside = {inner for name in found.dropped for inner in blocks[name].inside}
    return dict.fromkeys(found.dropped, 0) | {name: options[name][-1] for name in inside if name in options}


@given(st.integers(0, 10_000), st.floats(0.15, 0.95))
@settings(max_examples=15, deadline=None)
def test_a_tiny_case_is_solved_as_trying_everything_does(seed: int, share: float) -> None:
    """Four groups, the first two in one block and the third in another; the costs add up."""
    random = np.random.default_rng(seed)
    names = [f"g{i}" for i in range(4)]
    scores = {name: random.random(64).tolist() for name in names}
    options = {name: [16, 32, 48, 64] for name in names}
    price = {name: float(random.uniform(0.2, 2)) for name in names}
    blocks = {
        "two": Block(float(random.uniform(5, 60)), ("g0", "g1")),
        "one": Block(float(random.uniform(5, 60)), ("g2",)),
    }

    def cost(keep: Mapping[str, int]) -> float:
        inside = {inner for name, block in blocks.items() if keep.get(name) == 0 for inner in block.inside}
        return 10 + sum(price[name] * keep[name] for name in names if name not in inside)

    budget = cost(dict.fromkeys(names, 64)) * share

    def every() -> Iterator[float]:
        for widths in itertools.product(*options.values()):
            for there in itertools.product((0, 1), repeat=2):
                keep = dict(zip([*names, *blocks], [*widths, *there], strict=True))
                if cost(keep) <= budget:
                    dropped = tuple(name for name in blocks if not keep[name])
                    inside = {inner for name in dropped for inner in blocks[name].inside}
                    left = {name: keep[name] for name in names if name not in inside}
                    yield lost(Allotment(left, 0.0, 0.0, dropped), scores, blocks)

    least = min(every(), default=None)
    if least is None:
        with pytest.raises(BudgetError, match="no widths reach"):
            allot(scores, options, cost, budget, blocks=blocks)
        return
    found = allot(scores, options, cost, budget, blocks=blocks)
    assert lost(found, scores, blocks) == pytest.approx(least, rel=1e-3, abs=1e-3)


def test_a_block_that_is_worth_little_goes_before_widths_that_are_worth_much() -> None:
    scores, options = (
        {"in": [1.0] * 64, "out": [1.0] * 64},
        {name: [16, 32, 48, 64] for name in ("in", "out")},
    )

    def cost(keep: Mapping[str, int]) -> float:
        return keep["out"] + (keep["in"] if keep.get("block") != 0 else 0)

    found = allot(scores, options, cost, 70.0, blocks={"block": Block(8.0, ("in",))})
    assert (found.dropped, found.keep, found.cost) == (("block",), {"out": 64}, 64)
    dear = allot(scores, options, cost, 96.0, blocks={"block": Block(60.0, ("in",))})
    assert dear.dropped == () and sum(dear.keep.values()) == 96
