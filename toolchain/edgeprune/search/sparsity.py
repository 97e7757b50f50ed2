"""The strength of sparse training, found by bisection instead of by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from edgeprune.core.artifact import STAGES, Store
from edgeprune.core.errors import BudgetError
from edgeprune.models.trust import trusting
from edgeprune.pipeline.build import start
from edgeprune.pipeline.context import BuildRequest, Notify
from edgeprune.pipeline.load import try_original
from edgeprune.pipeline.prune_to_latency import torch_accuracy
from edgeprune.pipeline.train import sparsify
from edgeprune.records.scores import ScoredRecord
from edgeprune.records.summary import SanityWarning, data_warnings

WEAKEST, STRONGEST = 1e-5, 10.0
"""Where the search looks. Five trials tell the strength to a factor of 1.5."""


class Trial(ScoredRecord):
    """One strength that was tried.

    Attributes:
        share_small: share of the batch-norm scales below 0.01 after the training.
        median: median of the absolute scales.
        drop: score of the original minus this one's, on val.
        kept: whether the drop is within the budget.
    """

    strength: float
    share_small: float
    median: float
    score: float
    drop: float
    kept: bool


class Sweep(ScoredRecord):
    """All trials, in order, and the largest strength whose drop stays within `max_drop`."""

    criterion: str
    epochs: int
    max_drop: float
    original_score: float
    trials: tuple[Trial, ...]
    strength: float
    warnings: tuple[SanityWarning, ...] = ()


def sweep(request: BuildRequest, trials: int, notify: Notify) -> Sweep:
    """Train at several strengths and pick one; each trial is a stage that a build there reuses.

    Raises:
        BudgetError: no strength that was tried stays within `budget.max_drop`; the nearest is named.
    """
    recipe = request.recipe
    store = Store(request.out / STAGES)
    with store.locked(), trusting(request.trust):
        original, context = start(request, store, notify)
        context = try_original(context, original)[1]
        before = torch_accuracy(context, original)

        def run(strength: float) -> Trial:
            settings = recipe.sparse.model_copy(update={"strength": strength})
            changed = replace(request, recipe=recipe.model_copy(update={"sparse": settings}))
            model, training = sparsify(replace(context, request=changed), original)
            assert training is not None  # the caller has set sparse.epochs
            last = training.epochs[-1]
            after = torch_accuracy(context, model)
            return Trial(
                strength=strength,
                share_small=last.share_small,
                median=last.quantiles[len(last.quantiles) // 2],
                metric=context.info.metric,
                score=after,
                drop=before - after,
                kept=before - after <= recipe.budget.max_drop,
            )

        found = bisect(run, trials)
    kept = [trial.strength for trial in found if trial.kept]
    if not kept:
        near = min(found, key=lambda trial: trial.drop)
        raise BudgetError(
            f"{request.out}: no strength of {len(found)} tried keeps the drop within "
            f"{recipe.budget.max_drop:g}; nearest is {near.strength:.3g} with {near.drop:.4f}. "
            "Give more --epochs or a larger --max-drop"
        )
    return Sweep(
        criterion=recipe.prune.criterion,
        epochs=recipe.sparse.epochs,
        max_drop=recipe.budget.max_drop,
        metric=context.info.metric,
        original_score=before,
        trials=tuple(found),
        strength=max(kept),
        warnings=data_warnings(context.dataset.notes),
    )


def bisect(run: Callable[[float], Trial], trials: int) -> list[Trial]:
    """Halve the range of strengths on a logarithmic scale: upwards after a trial that is kept."""
    low, high = math.log10(WEAKEST), math.log10(STRONGEST)
    found: list[Trial] = []
    for _ in range(trials):
        middle = (low + high) / 2
        found.append(run(float(f"{10**middle:.3g}")))  # as it is printed, so that a build asks for the same
        low, high = (middle, high) if found[-1].kept else (low, middle)
    return found
