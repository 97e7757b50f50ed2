"""The gate's error rates on simulated machines: how often it fails equal sides, and catches slower ones.

    python -m benchmarks.gate_simulated

Four kinds of noise, made up, with a fixed seed: they test the statistics of the gate, not any machine. Beside
each stands what one pair and a threshold of 5 % would have done, the usual check in CI.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeprune.gate.decision import FAIL_ALPHA, LOOKS, decide

PAIRS = LOOKS[-1]
RUNS, SEED = 2000, 11
EFFECTS = (0.0, 0.03, 0.08, 0.10)
Array = np.ndarray[Any, np.dtype[np.float64]]


def _quiet(random: np.random.Generator) -> Array:
    return random.normal(0, 0.005, PAIRS)


def _phone(random: np.random.Generator) -> Array:
    """The governor puts a process on another clock now and then, and noise has heavy tails."""
    clock = 0.15 * random.integers(-1, 2, PAIRS) * (random.random(PAIRS) < 0.15)
    return 0.015 * random.standard_t(4, PAIRS) + clock


def _busy_ci(random: np.random.Generator) -> Array:
    """A neighbour comes and goes: it slows one side of one pair in four by up to 30 %."""
    hit = random.random(PAIRS) < 0.25
    return random.normal(0, 0.03, PAIRS) + hit * random.choice([-1, 1], PAIRS) * random.uniform(0, 0.3, PAIRS)


def _warming(random: np.random.Generator) -> Array:
    """Heat slows what runs second, less and less; balanced order turns that into an alternating error."""
    drift = 0.06 * np.exp(-np.arange(PAIRS) / 6)
    return random.normal(0, 0.01, PAIRS) + drift * np.tile([1, -1], PAIRS // 2)


MODELS: dict[str, Callable[[np.random.Generator], Array]] = {
    "quiet board": _quiet,
    "phone": _phone,
    "busy CI host": _busy_ci,
    "warming device": _warming,
}


def decided(ratios: Array, tau: float, fail_alpha: float = FAIL_ALPHA) -> tuple[str, float]:
    """Return the verdict of the sequential test and its p-value over the looks that were needed."""
    p_value = 1.0
    for look in LOOKS:
        decision = decide(ratios[:look].tolist(), tau, fail_alpha)
        p_value = min(p_value, decision.p_value)
        if decision.verdict:
            return decision.verdict, p_value
    raise AssertionError("the last look has to decide")


def rates(model: str, effect: float, runs: int = RUNS, tau: float = 0.05) -> dict[str, float]:
    """Return the share of each verdict over checks of a candidate that is slower by `effect`.

    ``one pair`` is the share that a single pair and a threshold of tau would have failed.
    """
    random = np.random.default_rng(SEED)
    checks = [MODELS[model](random) + math.log1p(effect) for _ in range(runs)]
    verdicts = [decided(check, tau)[0] for check in checks]
    shares = {verdict: verdicts.count(verdict) / runs for verdict in ("fail", "inconclusive", "pass")}
    return shares | {"one pair": sum(check[0] > math.log1p(tau) for check in checks) / runs}


def main() -> None:
    """Print the rates as a Markdown table."""
    print("| noise | candidate | fail | inconclusive | pass | one pair fails |\n|---|---|---|---|---|---|")
    for model in MODELS:
        for effect in EFFECTS:
            cells = " | ".join(f"{100 * share:.4g} %" for share in rates(model, effect).values())
            print(f"| {model} | {f'+{effect:.0%}' if effect else 'unchanged'} | {cells} |")


if __name__ == "__main__":
    main()
