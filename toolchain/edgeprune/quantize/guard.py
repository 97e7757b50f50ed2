"""The mixed-precision choice: which layers stay in float so that accuracy holds at the least latency.

Drops add up only roughly, so their sum orders the choices and never decides: `ladder` gives choices from the
fastest to the safest, `search` measures the drop of real artifacts on a few of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from edgeprune.summary import GuardTry, LayerSensitivity

RUNGS = 60
MOST_TRIES = 10
TAIL = 5


@dataclass(frozen=True)
class Rung:
    """One choice.

    Attributes:
        floats: names of the layers that stay in float.
        predicted: sum of the drops of the layers that are int8.
        lost_ms: that int8 would gain in the layers in float; None where no milliseconds are known.
    """

    floats: tuple[str, ...]
    predicted: float
    lost_ms: float | None = None


def expected_drops(layers: Sequence[LayerSensitivity]) -> dict[str, float]:
    """Return a drop for each layer, above zero: measured, or told by its error.

    Between the layers that were evaluated last and cost least, and those below them, noise decides what a
    metric says: there the drop grows with the square of the error, as the power of noise that adds up.
    """
    evaluated = [layer for layer in layers if layer.drop is not None]
    tail = sorted(evaluated, key=lambda layer: layer.error)[:TAIL]
    level = max(_median([max(layer.drop or 0.0, 0.0) for layer in tail]), 1e-6)
    scale = level / max(_median([layer.error**2 for layer in tail]), 1e-12)
    return {layer.layer: max(layer.drop or 0.0, min(level, scale * layer.error**2), 1e-9) for layer in layers}


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else 0.0


def ladder(layers: Sequence[LayerSensitivity]) -> list[Rung]:
    """Return choices of growing predicted latency and shrinking predicted drop, the last all in float.

    Each is the solution of a knapsack: the fewest milliseconds lost to float layers under a bound on the sum
    of the drops. A layer that is slower in int8 costs nothing to leave in float, on the contrary. Where no
    milliseconds are known every layer counts alike.
    """
    drops = expected_drops(layers)
    timed = [layer for layer in layers if layer.gained_ms is not None]
    cost = {layer.layer: (layer.gained_ms or 0.0) if timed else 1.0 for layer in layers}
    total = sum(drops.values())
    least = min(drops.values(), default=0.0)
    rungs: dict[tuple[str, ...], Rung] = {}

    def rung(floats: tuple[str, ...]) -> Rung:
        predicted = sum(drop for name, drop in drops.items() if name not in floats)
        return Rung(floats, predicted, sum(cost[name] for name in floats) if timed else None)

    for bound in [total, *np.geomspace(total, max(least, total * 1e-6), RUNGS)[1:]] if drops else []:
        floats = _cheapest(drops, cost, float(bound))
        rungs.setdefault(floats, rung(floats))
    everything = tuple(layer.layer for layer in layers)
    rungs.setdefault(everything, rung(everything))
    return sorted(rungs.values(), key=lambda one: -one.predicted)


def _cheapest(drops: Mapping[str, float], cost: Mapping[str, float], bound: float) -> tuple[str, ...]:
    names = list(drops)
    loss = np.array([drops[name] for name in names])
    # x = 1 keeps a layer in float: the drops of the others stay within the bound.
    solution = milp(
        np.array([cost[name] for name in names]) + 1e-6,
        integrality=np.ones(len(names)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(loss[None] / loss.max(), lb=(loss.sum() - bound) / loss.max() - 1e-9),
        options={"mip_rel_gap": 1e-4, "time_limit": 20.0},
    )
    if solution.x is None:
        return tuple(names)
    return tuple(name for name, share in zip(names, solution.x, strict=True) if share > 0.5)


def search(
    rungs: Sequence[Rung], budget: float, measured: Callable[[Rung], float]
) -> tuple[Rung, tuple[GuardTry, ...]]:
    """Return the fastest rung whose real drop keeps to a budget, and every try on the way.

    A try that misses corrects the predictions above it by what it was off; one that holds is the upper end of
    a bisection. The last rung, all in float, is taken untried when nothing else holds.

    Args:
        measured: drop on val of the artifact with these layers in float.
    """
    tries: list[GuardTry] = []
    low, high, factor = -1, len(rungs) - 1, 1.0
    at = _first(rungs, 0, budget)
    while high - low > 1 and len(tries) < MOST_TRIES:
        at = min(max(at, low + 1), high - 1)
        rung, drop = rungs[at], measured(rungs[at])
        predicted = rung.predicted
        tries.append(GuardTry(floats=len(rung.floats), predicted=predicted, drop=drop, lost_ms=rung.lost_ms))
        if drop <= budget:
            high = at
        else:
            low, factor = at, max(factor, drop / max(predicted, 1e-9))
        held = high < len(rungs) - 1
        at = (low + high) // 2 if held else _first(rungs, low + 1, budget / factor)
    return rungs[high], tuple(tries)


def _first(rungs: Sequence[Rung], start: int, budget: float) -> int:
    """Return the index of the first rung from `start` that is predicted to keep to a budget."""
    return next((i for i in range(start, len(rungs)) if rungs[i].predicted <= budget), len(rungs) - 1)
