"""How many times as fast one run is as another, from the turns that both took: the one estimator of it.

Two things bend a ratio of two medians on a busy machine. The machine's speed changes from second to second;
it meets both sides of a pair of neighbouring turns alike, so that their ratio is free of it. And others cut
in: a query is cut the more often the longer it is, so that the median of short ones is of whole queries and
that of long ones is not. Three steps undo that:

1. A query counts with its own time: what the clock says, less what its thread waited for a core
   (`Block.waits_ns`). How the waits of several threads add up nobody can tell; of such a worker the queries
   that hardly waited count.
2. A turn counts with the mean of its queries. Turns of both sides take about as long, so that what no counter
   tells (a hypervisor, a neighbour on the same physical core) cuts both as often: no query escapes by being
   short.
3. A pair of processes counts with the median over its turns of the log ratio, so that a turn which something
   rare hit moves nothing.

The estimate is the mean over the pairs of processes, the interval Student's over them: the iterations of one
process are not independent. With fewer than three pairs the unit is a stretch of consecutive turns, as in
batch means (Law, Simulation Modeling and Analysis, 9.5.3). What a machine is like outlasts a stretch, so the
interval then is that for one more stretch, and wider. Sections 1 and 3 of `docs/measurement.md`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprune.core.distributions import student_t_quantile
from edgeprune.records.bench_result import BenchResult, Block
from edgeprune.records.speedup import DISTURBING, Speedup

Array = npt.NDArray[np.float64]

CONFIDENCE = 0.95
LEAST_PAIRS = 3
"""Processes of each side that a spread between them can be taken from."""
STRETCHES = 8
"""Stretches of consecutive turns, where there are fewer processes than that."""
HARDLY = 0.02
"""Of several threads: a query that waited for less than this share of its time was not cut."""


def speedup(before: BenchResult, after: BenchResult) -> Speedup | None:
    """Return how many times as fast `after` is as `before`; None where they did not take turns in one run.

    Blocks of files without turns count as one turn each.
    """
    if before.run_id != after.run_id:
        return None
    disturbed = any(flag.code in DISTURBING for result in (before, after) for flag in result.flags)
    threads = [int(result.backend.threads or 1) for result in (before, after)]
    found = speedup_of(
        [
            log_ratios(one, other, *threads)
            for one, other in zip(before.blocks, after.blocks, strict=False)
            if one.samples_ns and other.samples_ns
        ]
    )
    return found and found.model_copy(update={"disturbed": disturbed})


def speedup_of(pairs: Sequence[Array]) -> Speedup | None:
    """Return the speed-up that pairs of processes tell; None where no turn of both could be used.

    Args:
        pairs: of each pair of processes the `log_ratios` of its turns.
    """
    pairs = [pair for pair in pairs if len(pair)]
    if not pairs:
        return None
    turns = sum(map(len, pairs))
    units = [float(np.median(pair)) for pair in pairs]
    estimate = float(np.mean(units))
    several = len(units) >= LEAST_PAIRS
    if not several:
        each = STRETCHES // len(pairs)
        parts = [part for pair in pairs if len(pair) >= each for part in np.array_split(pair, each)]
        if len(parts) < STRETCHES:
            return Speedup(times=math.exp(estimate), turns=turns)
        units = [float(np.median(part)) for part in parts]
    count = len(units)
    error = float(np.std(units, ddof=1)) * math.sqrt(1 / count if several else 1 + 1 / count)
    width = error * student_t_quantile((1 + CONFIDENCE) / 2, count - 1)
    ends = (estimate - width, estimate + width)
    return Speedup(times=math.exp(estimate), low=math.exp(ends[0]), high=math.exp(ends[1]), turns=turns)


def log_ratios(before: Block, after: Block, before_threads: int = 1, after_threads: int = 1) -> Array:
    """Return log(time of `before` / time of `after`) for each turn that both took, in order.

    A turn is left out where a side has no query in it that can be used.
    """
    one, other = turn_times(before, before_threads), turn_times(after, after_threads)
    count = min(len(one), len(other))
    with np.errstate(invalid="ignore"):
        logs = np.log(one[:count] / other[:count])
    return np.asarray(logs[np.isfinite(logs)])


def turn_times(block: Block, threads: int = 1) -> Array:
    """Return the mean own time of the queries of each turn, ns; NaN for a turn without one to be used."""
    own = own_ns(block, threads)
    lengths = np.asarray(block.turns or (len(own),))
    turn = np.repeat(np.arange(len(lengths)), lengths)
    used = ~np.isnan(own)
    sums = np.bincount(turn[used], own[used], len(lengths))
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / np.bincount(turn[used], minlength=len(lengths)))


def own_ns(block: Block, threads: int = 1) -> Array:
    """Return each query's time less what it waited for a core, ns; NaN for one that cannot be used."""
    samples: npt.NDArray[Any] = np.asarray(block.samples_ns, dtype=np.float64)
    if not block.waits_ns:
        return samples
    waits = np.asarray(block.waits_ns, dtype=np.float64)
    if threads > 1:
        return np.where(waits <= HARDLY * samples, samples, np.nan)
    return np.where(waits < samples, samples - waits, np.nan)
