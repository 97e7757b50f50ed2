"""Flags: what makes a run unfit to be gated, or less certain, each derived from evidence the result keeps.

The codes and thresholds are those of section 3 of the measurement protocol (`docs/measurement.md`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgeprune.bench.result import Block, Flag, Growth, Minute
from edgeprune.bench.statistics import PERCENTILE_MINIMA, median_ms, pooled_ns

CONTENDED = 0.10  # share of a core
DRIFT = 0.05
NOISY = 0.05
# /proc/stat counts in ticks of 10 ms: below this time a share of it means nothing.
_SHORTEST_JUDGED_S = 1.0
_FEWEST_FOR_DRIFT = 40


def derive_flags(
    blocks: Sequence[Block],
    backend: Mapping[str, Any],
    env_before: Mapping[str, Any],
    env_after: Mapping[str, Any],
    minutes: Sequence[Minute] = (),
    growth: Growth | None = None,
) -> tuple[Flag, ...]:
    """Return every flag that the blocks, the backend's evidence and the environments give rise to.

    Args:
        minutes, growth: of a `sustained` run.
    """
    return (
        *fallback(backend),
        *_partly_elsewhere(backend),
        *output_mismatch(blocks),
        *disturbances(blocks, env_before, env_after),
        *(_heat(minutes) if len(minutes) > 1 else _drift(blocks)),
        *_leak(growth),
        *_noisy(blocks),
        *_clocks(env_before),
        *_n_insufficient(blocks),
    )


def disturbances(
    blocks: Sequence[Block], env_before: Mapping[str, Any], env_after: Mapping[str, Any]
) -> Iterator[Flag]:
    """Yield the flags for what the machine did to the run: heat, other work, swap."""
    before, after = env_before.get("throttle_events"), env_after.get("throttle_events")
    if before is not None and after is not None and after > before:
        yield _invalid("throttled", f"the cores were throttled for heat {after - before} times")
    if news := _newly_throttled(env_before.get("pi_throttled"), env_after.get("pi_throttled")):
        yield _invalid("throttled", f"get_throttled: bits {news:#x} were set during the run")
    yield from _contended(blocks, "steal", "the hypervisor took {:.0%} of the time of a core")
    yield from _contended(
        blocks, "foreign", "other processes took {:.0%} of a core while the worker waited for it"
    )
    swapped = max((block.swapped_kb or 0 for block in blocks), default=0)
    if swapped:
        yield _invalid("swap", f"{swapped} kB of the worker were swapped out")


def _invalid(code: str, evidence: str) -> Flag:
    return Flag(code=code, severity="invalid", evidence=evidence)


def _warning(code: str, evidence: str) -> Flag:
    return Flag(code=code, severity="warning", evidence=evidence)


def fallback(backend: Mapping[str, Any]) -> Iterator[Flag]:
    """Yield a flag where the provider or the precision is not the one that was asked for."""
    for what in ("provider", "precision"):
        requested, actual = backend[f"{what}_requested"], backend[f"{what}_actual"]
        if requested != actual:
            yield _invalid("fallback", f"{what} asked for: {requested}, really used: {actual}")


def _partly_elsewhere(backend: Mapping[str, Any]) -> Iterator[Flag]:
    nodes: Mapping[str, int] = backend.get("provider_nodes") or {}
    requested = backend["provider_requested"]
    rest = {name: count for name, count in nodes.items() if name != requested}
    if rest and requested in nodes:
        others = ", ".join(f"{name} {count}" for name, count in rest.items())
        yield _warning(
            "partial_fallback",
            f"{requested} took {nodes[requested]} of {sum(nodes.values())} nodes, {others}",
        )


def output_mismatch(blocks: Sequence[Block]) -> Iterator[Flag]:
    """Yield a flag when a worker's outputs were not those of the reference."""
    wrong = [block for block in blocks if block.output_ok is False and not block.cross_talk]
    if wrong:
        error = wrong[0].output_error
        text = "shapes differ or values are not finite" if error is None else f"relative L2 error {error:.2g}"
        yield _invalid("output_mismatch", f"outputs differ from the reference: {text}")
    for block in blocks:
        if block.cross_talk:
            error = block.cross_talk_error
            text = (
                "shapes differ or values are not finite"
                if error is None
                else f"relative L2 error {error:.2g}"
            )
            yield _invalid(
                "output_mismatch",
                f"{block.cross_talk} of {len(block.samples_ns)} answers beside others were not what "
                f"their input gives alone: {text}",
            )


def _newly_throttled(before: str | None, after: str | None) -> int:
    """Return the bits that were set in between: 0-3 are the present state, 16-19 stay set since boot."""
    if before is None or after is None:
        return 0
    old, new = (int(text.rpartition("=")[2], 16) for text in (before, after))
    return (new & 0xF) | (new & ~old & 0xF0000)


def _contended(blocks: Sequence[Block], field: str, text: str) -> Iterator[Flag]:
    told = [(getattr(block, field), block.elapsed_ns / 1e9) for block in blocks]
    judged = [(share, seconds) for share, seconds in told if share is not None]
    total = sum(seconds for _, seconds in judged)
    if total < _SHORTEST_JUDGED_S:
        return
    share = sum(share * seconds for share, seconds in judged) / total
    if share > CONTENDED:
        yield _invalid("contended", text.format(share))


def _drift(blocks: Sequence[Block]) -> Iterator[Flag]:
    samples = pooled_ns(blocks)
    if len(samples) < _FEWEST_FOR_DRIFT:
        return
    quarter = len(samples) // 4
    first, last = float(np.median(samples[:quarter])), float(np.median(samples[-quarter:]))
    if last > first * (1 + DRIFT):
        yield _invalid("drift", f"the last quarter's median is {last / first - 1:.1%} above the first's")


def _heat(minutes: Sequence[Minute]) -> Iterator[Flag]:
    first, last = minutes[0].p50_ms, minutes[-1].p50_ms
    if first and last and last > first * (1 + DRIFT):
        yield _invalid(
            "drift", f"p50 of minute {minutes[-1].minute} is {last / first - 1:.1%} above the first's"
        )


def _leak(growth: Growth | None) -> Iterator[Flag]:
    if growth and growth.leak:
        yield _warning(
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
        yield _warning("noisy", f"the medians of {len(medians)} blocks spread over {spread:.1%}")


def _clocks(env: Mapping[str, Any]) -> Iterator[Flag]:
    allowed = {f"cpu{core}" for core in env.get("affinity") or ()}
    frequency = {core: values for core, values in (env.get("frequency") or {}).items() if core in allowed}
    free = [
        core for core, values in frequency.items() if values["scaling_min_freq"] != values["scaling_max_freq"]
    ]
    if free:
        governors = sorted({str(frequency[core]["scaling_governor"]) for core in free})
        yield _warning(
            "clocks_unlocked", f"governor {', '.join(governors)} may change the clock of {len(free)} cores"
        )
    capacities = {value for core, value in (env.get("capacity") or {}).items() if core in allowed}
    if len(capacities) > 1:
        yield _warning(
            "mixed_cores",
            f"the worker may run on cores of capacity {', '.join(sorted(map(str, capacities)))}",
        )


def _n_insufficient(blocks: Sequence[Block]) -> Iterator[Flag]:
    if not blocks:
        return
    n = sum(len(block.samples_ns) for block in blocks)
    withheld = [f"p{percent} needs {least}" for percent, least in PERCENTILE_MINIMA.items() if n < least]
    if withheld:
        yield _warning("n_insufficient", f"{n} samples: {', '.join(withheld)}")
