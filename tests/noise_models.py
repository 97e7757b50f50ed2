"""Machines as noise: log ratios of pairs on a quiet board, a phone, a busy CI host and one that warms up.

Made up, with fixed seeds: they test the statistics of the gate, not any machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgeprune.bench.decision import FAIL_ALPHA, LOOKS, decide

PAIRS = LOOKS[-1]
Array = np.ndarray


def _quiet(random: np.random.Generator) -> Array:
    return random.normal(0, 0.005, PAIRS)


def _phone(random: np.random.Generator) -> Array:
    """The governor puts a process on a faster or a slower clock now and then, and noise has heavy tails."""
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
    "quiet": _quiet,
    "phone": _phone,
    "busy CI": _busy_ci,
    "warming": _warming,
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


def rates(model: str, effect: float, runs: int, tau: float = 0.05, seed: int = 11) -> dict[str, float]:
    """Return the share of each verdict over simulated checks of a candidate that is slower by `effect`."""
    random = np.random.default_rng(seed)
    shift = math.log1p(effect)
    verdicts = [decided(MODELS[model](random) + shift, tau)[0] for _ in range(runs)]
    return {verdict: verdicts.count(verdict) / runs for verdict in ("pass", "fail", "inconclusive")}
