"""Flags: what makes a run unfit to be gated, or less certain, each derived from evidence the result keeps.

The codes and thresholds are those of section 3 of the measurement protocol (`docs/measurement.md`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgeprune.bench.machine_flags import charging, clocks, find_throttling, invalid, jit_cache_cold, warning
from edgeprune.bench.statistics import PERCENTILE_MINIMA, median_ms, pooled_ns
from edgeprune.records.bench_result import Block, Flag
from edgeprune.records.facts import RuntimeFacts
from edgeprune.records.figures import Growth, Minute
from edgeprune.worker.sensors.contention import SHORTEST_JUDGED_S

CONTENDED = 0.10  # share of a core
DRIFT = 0.05
NOISY = 0.05
_FEWEST_FOR_DRIFT = 40


def derive_flags(
    blocks: Sequence[Block],
    backend: RuntimeFacts,
    env_before: Mapping[str, Any],
    env_after: Mapping[str, Any],
    minutes: Sequence[Minute] = (),
    growth: Growth | None = None,
    telemetry: Sequence[Mapping[str, Any]] = (),
) -> tuple[Flag, ...]:
    """Return every flag that blocks, the backend's evidence, environments and telemetry give rise to.

    Args:
        minutes, growth: of a `sustained` run.
    """
    return (
        *fallback(backend),
        *_partly_elsewhere(backend),
        *output_mismatch(blocks),
        *disturbances(blocks, env_before, env_after, telemetry),
        *(_heat(minutes) if len(minutes) > 1 else _drift(blocks)),
        *_leak(growth),
        *_noisy(blocks),
        *clocks(env_before),
        *charging(env_before, env_after),
        *jit_cache_cold(env_before, env_after),
        *_n_insufficient(blocks),
    )


def disturbances(
    blocks: Sequence[Block],
    env_before: Mapping[str, Any],
    env_after: Mapping[str, Any],
    telemetry: Sequence[Mapping[str, Any]] = (),
) -> Iterator[Flag]:
    """Yield the flags for what the machine did to the run: heat, other work, swap."""
    yield from find_throttling(env_before, env_after, telemetry)
    yield from _contended(blocks, "steal", "the hypervisor took {:.0%} of the time of a core")
    yield from _contended(
        blocks, "foreign", "other processes took {:.0%} of a core while the worker waited for it"
    )
    swapped = max((block.swapped_kb or 0 for block in blocks), default=0)
    if swapped:
        yield invalid("swap", f"{swapped} kB of the worker were swapped out")


def fallback(backend: RuntimeFacts) -> Iterator[Flag]:
    """Yield a flag where the provider or the precision is not the one that was asked for."""
    pairs = {
        "provider": (backend.provider_requested, backend.provider_actual),
        "precision": (backend.precision_requested, backend.precision_actual),
    }
    for what, (requested, actual) in pairs.items():
        if requested != actual:
            yield invalid("fallback", f"{what} asked for: {requested}, really used: {actual}")


def _partly_elsewhere(backend: RuntimeFacts) -> Iterator[Flag]:
    """Yield a flag where a runtime tells who took each node, or what its delegate left."""
    requested, nodes = backend.provider_requested, backend.provider_nodes or {}
    rest = {name: count for name, count in nodes.items() if name != requested}
    if rest and requested in nodes:
        kinds = f" ({_counts(backend.left)})" if backend.left else ""
        yield warning(
            "partial_fallback",
            f"{requested} took {nodes[requested]} of {sum(nodes.values())} nodes, {_counts(rest)}{kinds}",
        )
    elif backend.left and requested == backend.provider_actual and backend.delegated_pct is not None:
        yield warning(
            "partial_fallback",
            f"{requested} took {backend.delegated_pct:.1f} % of the operators "
            f"and left {_counts(backend.left)}",
        )


def _counts(of: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in of.items())


def output_mismatch(blocks: Sequence[Block]) -> Iterator[Flag]:
    """Yield a flag when a worker's outputs were not those of the reference."""
    wrong = [block for block in blocks if block.output_ok is False and not block.cross_talk]
    if wrong:
        error = wrong[0].output_error
        text = "shapes differ or values are not finite" if error is None else f"relative L2 error {error:.2g}"
        yield invalid("output_mismatch", f"outputs differ from the reference: {text}")
    for block in blocks:
        if block.cross_talk:
            error = block.cross_talk_error
            text = (
                "shapes differ or values are not finite"
                if error is None
                else f"relative L2 error {error:.2g}"
            )
            yield invalid(
                "output_mismatch",
                f"{block.cross_talk} of {len(block.samples_ns)} answers beside others were not what "
                f"their input gives alone: {text}",
            )


def _contended(blocks: Sequence[Block], field: str, text: str) -> Iterator[Flag]:
    told = [(getattr(block, field), block.elapsed_ns / 1e9) for block in blocks]
    judged = [(share, seconds) for share, seconds in told if share is not None]
    total = sum(seconds for _, seconds in judged)
    if total < SHORTEST_JUDGED_S:
        return
    share = sum(share * seconds for share, seconds in judged) / total
    if share > CONTENDED:
        yield invalid("contended", text.format(share))


def _drift(blocks: Sequence[Block]) -> Iterator[Flag]:
    samples = pooled_ns(blocks)
    if len(samples) < _FEWEST_FOR_DRIFT:
        return
    quarter = len(samples) // 4
    first, last = float(np.median(samples[:quarter])), float(np.median(samples[-quarter:]))
    if last > first * (1 + DRIFT):
        yield invalid("drift", f"the last quarter's median is {last / first - 1:.1%} above the first's")


def _heat(minutes: Sequence[Minute]) -> Iterator[Flag]:
    first, last = minutes[0].p50_ms, minutes[-1].p50_ms
    if first and last and last > first * (1 + DRIFT):
        yield invalid(
            "drift", f"p50 of minute {minutes[-1].minute} is {last / first - 1:.1%} above the first's"
        )


def _leak(growth: Growth | None) -> Iterator[Flag]:
    if growth and growth.leak:
        yield warning(
            "leak",
            f"resident memory grows by {growth.mb_per_minute:.2f} MB a minute "
            f"(99 % sure of more than {growth.lower:.2f}), and keeps growing",
        )


def _noisy(blocks: Sequence[Block]) -> Iterator[Flag]:
    if not blocks:
        return
    medians = [median_ms(block) for block in blocks]
    spread = max(medians) / min(medians) - 1
    if spread > NOISY:
        yield warning("noisy", f"the medians of {len(medians)} blocks spread over {spread:.1%}")


def _n_insufficient(blocks: Sequence[Block]) -> Iterator[Flag]:
    if not blocks:
        return
    n = sum(len(block.samples_ns) for block in blocks)
    withheld = [f"p{percent} needs {least}" for percent, least in PERCENTILE_MINIMA.items() if n < least]
    if withheld:
        yield warning("n_insufficient", f"{n} samples: {', '.join(withheld)}")
