"""The metrics of the gate that no sequential test decides: memory, accuracy, and what is only shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from edgeprune.core.errors import NotComparableError
from edgeprune.gate.budgets import ACCURACY, Budget, accuracy_budget, memory_budget
from edgeprune.gate.decision import Verdict
from edgeprune.gate.pairs import check_comparable
from edgeprune.gate.result import AccuracyPair, MetricVerdict, Pair
from edgeprune.records.bench_result import WorkerReport
from edgeprune.records.resampling.interval import drop_words, images_needed
from edgeprune.records.scores import Accuracy

MEMORY_RATIO, MEMORY_MB = 1.02, 2 * 1.048576  # 2 % and 2 MiB


def medians(pairs: Sequence[Pair], field: str) -> tuple[float, float]:
    """Return the medians over the pairs of a field of both sides."""
    before, now = (
        float(np.median([getattr(pair, f"{side}_{field}") for pair in pairs]))
        for side in ("baseline", "candidate")
    )
    return before, now


def advice(pairs: Sequence[Pair]) -> list[MetricVerdict]:
    """Return p90 and p99 latency, which decide nothing: the tail of a short block is too noisy to be gated.

    Each is shown where every pair has enough samples for it; neither where no pair counts.
    """
    shown = []
    for percent in (90, 99):
        field = f"p{percent}_ms"
        sides = [getattr(pair, f"{side}_{field}") for pair in pairs for side in ("baseline", "candidate")]
        if not sides or None in sides:
            continue
        before, now = medians(pairs, field)
        shown.append(
            MetricVerdict(
                name=f"p{percent} latency",
                verdict="advisory",
                evidence=f"{before:.4g} ms before, {now:.4g} ms now",
                baseline=before,
                candidate=now,
                unit="ms",
            )
        )
    return shown


def memory_metrics(
    baseline: Sequence[WorkerReport], candidate: Sequence[WorkerReport], budgets: Sequence[Budget]
) -> list[MetricVerdict]:
    """Judge the peak of resident memory, and what was held of an accelerator's, where that is told."""
    sides = [[run.memory for run in runs if run.memory] for runs in (baseline, candidate)]
    a, b = ([memory.peak_hwm for memory in side] for side in sides)
    metrics = [_held("peak memory", a, b)]
    on_device = [[memory.device_peak for memory in side if memory.device_peak is not None] for side in sides]
    if all(on_device):
        metrics.append(_held("device memory", *on_device))
    return [*metrics, *(memory_budget(budget, b) for budget in budgets if budget.metric == "peak_mb")]


def _held(name: str, baseline: Sequence[float], candidate: Sequence[float]) -> MetricVerdict:
    """Fail on a median that is more than 2 % and more than 2 MiB higher; numbers in MB of 1e6 bytes."""
    a, b = float(np.median(baseline)), float(np.median(candidate))
    worse = b > a * MEMORY_RATIO and b - a > MEMORY_MB
    return MetricVerdict(
        name=name,
        verdict="fail" if worse else "pass",
        evidence=f"{a:.1f} MB before, {b:.1f} MB now",
        baseline=a,
        candidate=b,
        unit="MB",
    )


def paired_accuracy(
    before: Accuracy | None, after: Accuracy | None, max_drop: float, force: bool
) -> AccuracyPair | None:
    """Return what the builds of both sides recorded of accuracy; None where the candidate's is not known.

    Raises:
        NotComparableError: the scores differ in metric, split or number of images, and no `force` leaves
            that of the baseline out.
    """
    if after is None:
        return None
    if before is not None:
        try:
            check_comparable(_ground(before), _ground(after))
        except NotComparableError:
            if not force:
                raise
            before = None
    return AccuracyPair(
        baseline=before and before.score,
        candidate=after.score,
        max_drop=max_drop,
        metric=after.metric,
        drop_interval=after.dropped_from(before).drop_interval if before else None,
        images=after.images,
    )


def _judge_drop(pair: AccuracyPair, drop: float) -> tuple[Verdict, str]:
    """Return the verdict on a drop, and what its interval adds to the words."""
    # The digits that binary arithmetic adds to a difference are no loss: 0.58 - 0.57 is above 0.01.
    within = round(drop, 9) <= pair.max_drop
    if pair.drop_interval is None:
        return "pass" if within else "fail", ""
    low, high = pair.drop_interval
    told = f"; drop {drop_words(drop, pair.drop_interval)}"
    if not within:
        return "fail", told if low > pair.max_drop else f"{told}, which {pair.images} images do not prove"
    if round(high, 9) <= pair.max_drop:
        return "pass", told
    told += f": {pair.images} images do not tell whether that is allowed"
    if drop < pair.max_drop:
        count = images_needed(pair.images, high - drop, pair.max_drop - drop)
        told += f", about {count:,} would if it stays as it is"
    return "inconclusive", told


def _ground(accuracy: Accuracy) -> dict[str, str | int]:
    """Return what two scores have to have in common for their difference to be a loss."""
    return {
        "the metric of their accuracy": accuracy.metric,
        "the split of their accuracy": accuracy.split,
        "the number of images of their accuracy": accuracy.images,
    }


def accuracy_metrics(pair: AccuracyPair | None, budgets: Sequence[Budget]) -> list[MetricVerdict]:
    """Fail on a drop that is larger than allowed; without the baseline's, the candidate's is only shown.

    A drop that is allowed passes where its whole interval is: else more images would have to tell.
    """
    if pair is None:
        return []
    verdict: Verdict | Literal["advisory"] = "advisory"
    words = (
        f"{pair.metric} {pair.candidate:.4f} now; not compared: that of the baseline is not known "
        "by the same metric on the same images"
    )
    if pair.baseline is not None:
        verdict, why = _judge_drop(pair, pair.baseline - pair.candidate)
        words = (
            f"{pair.metric} {pair.baseline:.4f} before, {pair.candidate:.4f} now "
            f"(allowed drop {pair.max_drop:g}){why}"
        )
    shown = MetricVerdict(
        name="accuracy",
        verdict=verdict,
        evidence=words,
        baseline=pair.baseline,
        candidate=pair.candidate,
        unit=pair.metric,
    )
    return [shown, *(accuracy_budget(budget, pair) for budget in budgets if budget.metric in ACCURACY)]
