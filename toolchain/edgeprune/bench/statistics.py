"""Statistics of raw samples: derived from a result whenever they are needed, never stored as truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeprune.core.distributions import binomial_quantile
from edgeprune.records.bench_result import BenchResult, Block

# MLPerf LoadGen's early-stopping minima at confidence .99: below them a percentile is not shown.
PERCENTILE_MINIMA = {90: 64, 95: 130, 99: 662}
TAIL, TAIL_MINIMUM = 99.9, 6636  # only a long run of a fast network has so many: it is no flaw to lack it
OUTLIER_MADS = 14.8
BOUND_CONFIDENCE = 0.99


@dataclass(frozen=True)
class Latency:
    """Latency of queries, of an image or a batch, in ms; a percentile with too few samples is None.

    Attributes:
        n: samples.
        p90_bound, p99_bound: one-sided 99 % upper bounds of the percentiles, for independent samples; None
            where even the largest sample is no such bound.
        cov: coefficient of variation, standard deviation over mean.
        p999: the percentile 99.9.
        outliers: samples further than 14.8 median absolute deviations from the median; none is left out.
    """

    n: int
    min: float
    p50: float
    p90: float | None
    p95: float | None
    p99: float | None
    max: float
    mean: float
    cov: float
    outliers: int
    p999: float | None = None
    p90_bound: float | None = None
    p99_bound: float | None = None


def latency_of(samples_ns: Sequence[int]) -> Latency:
    """Summarise samples in nanoseconds; there must be at least one."""
    ms = np.asarray(samples_ns, dtype=np.float64) / 1e6
    median = float(np.median(ms))
    away = np.abs(ms - median)
    shown = {
        percent: float(np.percentile(ms, percent)) if len(ms) >= least else None
        for percent, least in PERCENTILE_MINIMA.items()
    }
    mean = float(ms.mean())
    ordered = np.sort(ms)
    return Latency(
        n=len(ms),
        min=float(ms.min()),
        p50=median,
        p90=shown[90],
        p95=shown[95],
        p99=shown[99],
        max=float(ms.max()),
        mean=mean,
        cov=float(ms.std()) / mean if mean else 0.0,
        outliers=int(np.sum(away > OUTLIER_MADS * np.median(away))),
        p999=float(np.percentile(ms, TAIL)) if len(ms) >= TAIL_MINIMUM else None,
        p90_bound=percentile_bound(ordered, 90),
        p99_bound=percentile_bound(ordered, 99),
    )


def percentile_bound(ordered: npt.NDArray[np.float64], percent: float) -> float | None:
    """Return the smallest sample that is above a percentile with 99 % confidence, whatever the distribution.

    The number of samples below the percentile is binomial; the sample after that number's 99 % quantile is
    the bound (David and Nagaraja, Order Statistics, 7.1).

    Args:
        ordered: ascending.
    """
    index = binomial_quantile(BOUND_CONFIDENCE, len(ordered), percent / 100)
    return float(ordered[index]) if index < len(ordered) else None


def latency_ms(result: BenchResult) -> Latency:
    """Summarise the pooled samples of all blocks of a run."""
    return latency_of(pooled_ns(result.blocks))


def achieved_fps(blocks: Sequence[Block], batch: int = 1) -> float:
    """Return completed images over elapsed seconds: never 1/median, never 1000/mean.

    Args:
        batch: images of a query.
    """
    images = batch * sum(len(block.samples_ns) for block in blocks)
    return images / (sum(block.elapsed_ns for block in blocks) / 1e9)


def image_ms(result: BenchResult) -> float | None:
    """Return the median latency of a query over its images, ms; None where a query is one image."""
    batch = result.scenario.batch
    return latency_ms(result).p50 / batch if batch > 1 else None


def pooled_ns(blocks: Sequence[Block]) -> list[int]:
    """Return the samples of all blocks in the order they were taken."""
    return [sample for block in blocks for sample in block.samples_ns]


def median_ms(block: Block) -> float:
    """Return the median latency of one block in milliseconds."""
    return float(np.median(block.samples_ns)) / 1e6
