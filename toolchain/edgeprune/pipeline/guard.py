"""The mixed-precision choice: which layers stay in float so that accuracy holds at the least latency.

Drops add up only roughly, so their sum orders the choices and never decides: `rank_mixes` gives choices from
the fastest to the safest, `search` measures the drop of real artifacts on a few of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import LinearConstraint

from edgeprune.core.integer_program import cheapest_choice
from edgeprune.records.sensitivity import GuardTry, LayerSensitivity

MIXES = 60
MOST_TRIES = 10
GUIDED_TRIES = 4


@dataclass(frozen=True)
class Mix:
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
    """Return a drop for each layer, above zero: measured where it stands out of the noise, else by its error.

    What a metric says of a layer that costs next to nothing is noise, and the drops below zero, which are
    nothing else, tell how much of it. Below twice as much the drop grows with the square of the error, as the
    power of noise that adds up, at the rate of those layers together, which are half of all at least.
    """
    drops = {layer.layer: layer.drop for layer in layers if layer.drop is not None}
    below = [drop for drop in drops.values() if drop < 0]
    noise = 2 * float(np.sqrt(np.mean(np.square(below)))) if below else 0.0
    bound = max(noise, float(np.median(list(drops.values())))) if drops else 0.0
    quiet = [layer for layer in layers if layer.drop is not None and layer.drop <= bound]
    power = sum(layer.error**2 for layer in quiet)
    rate = max(sum(drops[layer.layer] for layer in quiet), noise, 1e-6) / max(power, 1e-12)
    return {
        layer.layer: layer.drop
        if layer.drop is not None and layer.drop > noise
        else max(rate * layer.error**2, 1e-9)
        for layer in layers
    }


def rank_mixes(layers: Sequence[LayerSensitivity]) -> list[Mix]:
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
    mixes: dict[tuple[str, ...], Mix] = {}

    def mix(floats: tuple[str, ...]) -> Mix:
        predicted = sum(drop for name, drop in drops.items() if name not in floats)
        return Mix(floats, predicted, sum(cost[name] for name in floats) if timed else None)

    for bound in [total, *np.geomspace(total, max(least, total * 1e-6), MIXES)[1:]] if drops else []:
        floats = _cheapest(drops, cost, float(bound))
        mixes.setdefault(floats, mix(floats))
    everything = tuple(layer.layer for layer in layers)
    mixes.setdefault(everything, mix(everything))
    return sorted(mixes.values(), key=lambda one: -one.predicted)


def _cheapest(drops: Mapping[str, float], cost: Mapping[str, float], bound: float) -> tuple[str, ...]:
    """Return the layers to leave in float at the least cost, the drops of the others within a bound."""
    names = [name for name, drop in drops.items() if drop <= bound]  # the others have no choice
    share = np.array([drops[name] for name in names]) / bound
    if not names:
        return tuple(drops)
    floats = cheapest_choice(
        np.array([cost[name] for name in names]) + 1e-6, [LinearConstraint(share[None], lb=share.sum() - 1)]
    )
    if floats is None:
        return tuple(drops)
    int8 = {name for name, kept in zip(names, floats, strict=True) if not kept}
    return tuple(name for name in drops if name not in int8)


def search(
    mixes: Sequence[Mix], budget: float, measured: Callable[[Mix], float]
) -> tuple[Mix, tuple[GuardTry, ...]]:
    """Return the fastest mix whose real drop keeps to a budget, and every try on the way.

    A try that misses corrects the predictions above it by what it was off. One that holds is the upper end of
    a bisection; after `GUIDED_TRIES` that miss, the predictions are worth nothing, and the last mix is it:
    all in float, taken untried when nothing else holds.

    Args:
        measured: drop on val of the artifact with these layers in float.
    """
    tries: list[GuardTry] = []
    low, high, factor = -1, len(mixes) - 1, 1.0
    at = _first(mixes, 0, budget)
    while high - low > 1 and len(tries) < MOST_TRIES:
        at = min(max(at, low + 1), high - 1)
        mix, drop = mixes[at], measured(mixes[at])
        predicted = mix.predicted
        tries.append(GuardTry(floats=len(mix.floats), predicted=predicted, drop=drop, lost_ms=mix.lost_ms))
        if drop <= budget:
            high = at
        else:
            low, factor = at, max(factor, drop / max(predicted, 1e-9))
        halve = high < len(mixes) - 1 or len(tries) >= GUIDED_TRIES
        at = (low + high) // 2 if halve else _first(mixes, low + 1, budget / factor)
    return mixes[high], tuple(tries)


def _first(mixes: Sequence[Mix], start: int, budget: float) -> int:
    """Return the index of the first mix from `start` that is predicted to keep to a budget."""
    return next((i for i in range(start, len(mixes)) if mixes[i].predicted <= budget), len(mixes) - 1)
