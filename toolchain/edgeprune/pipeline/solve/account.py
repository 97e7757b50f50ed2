"""What the search reports: its plan in words before it begins, and the account of all sizes after it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from edgeprune.core.artifact import Artifact
from edgeprune.latency.to_latency import describe_descent
from edgeprune.pipeline.solve.moves import Plan, shares_left
from edgeprune.pipeline.solve.plan import Pace, seconds_of
from edgeprune.pipeline.solve.rungs import Entry, Problem, lost_blocks
from edgeprune.records.pruning import BudgetSearch, PassReport, Pruning, Rung, SearchEnd
from edgeprune.records.scores import Accuracy


def plan_words(plan: Plan, pace: Pace | None) -> str:
    """Say what the search will do at most, and how long that takes at the measured pace."""
    if not plan.shares:
        return "no size can be cut"
    if not plan.epochs:
        return f"up to {len(plan.shares)} sizes, none trained"
    first = f"{plan.first} epochs before any cut, then " if plan.first else ""
    short = f"of {plan.short} epochs" if plan.short else "judged right after the cut"
    ways = f" (each of up to {plan.rivals} ways to it)" if plan.rivals > 1 else ""
    words = (
        f"{first}up to {len(plan.shares)} sizes {short}{ways}, then up to {plan.trainings} "
        f"recoveries of {plan.long}"
    )
    if pace is None:
        return words
    minutes = seconds_of(plan, pace) / 60
    return f"{words}: about {minutes:.0f} min of training at most; Ctrl-C ends it with the best so far"


def account_for(
    problem: Problem,
    plan: Plan,
    entries: Sequence[Entry],
    chosen: Entry | None,
    ended: SearchEnd,
    notes: Sequence[str],
) -> Pruning:
    """Return the account of the network that was chosen, with the search."""
    context, table = problem.context, problem.table
    step = table.step if table else problem.profile.step
    goal = f"drop at most {problem.budget:g}"
    after, imgsz = (chosen.best, chosen.imgsz) if chosen else (problem.uncut, context.spec.imgsz)
    report = describe_descent(
        context.adapter,
        (problem.uncut.path, context.spec.imgsz),
        (after.path, imgsz),
        context.recipe.prune,
        step,
        goal,
    )
    whole = _parameters(problem, problem.original)
    left = shares_left([entry.tried for entry in entries])
    search = BudgetSearch(
        metric=context.info.metric,
        cost="latency" if table else "macs",
        budget=problem.budget,
        sure=context.recipe.budget.sure,
        precision=problem.profile.ship,
        epochs_short=plan.short,
        epochs_long=plan.long,
        left=statistics.median(left) if left else None,
        rungs=tuple(_rung(problem, entry, whole, chosen) for entry in entries),
        ended=ended,
        notes=tuple(notes),
    )
    passes = chosen.passes if chosen else problem.passes
    return report.model_copy(update={"search": search, "passes": passes})


def put_back(passes: Sequence[PassReport], lost: Accuracy) -> tuple[tuple[PassReport, ...], str]:
    """Return the account of passes that a search put back, and a note that says why.

    Args:
        lost: what val said of the network that they made, trained, before any cut.
    """
    why = f"before any cut the network with it lost {lost.drop_words} on val, so the search put it back"
    reports = tuple(
        one.model_copy(
            update={"applied": (), "refused": (*one.refused, *(f"{what}: {why}" for what in one.applied))}
        )
        for one in passes
    )
    if [one.name for one in passes if one.applied] == ["activation"]:
        return (
            reports,
            f"the activation was left as it was: another one lost {lost.drop_words} on val before any cut",
        )
    return reports, f"what passes changed was put back: it lost {lost.drop_words} on val before any cut"


def _rung(problem: Problem, entry: Entry, whole: int, chosen: Entry | None) -> Rung:
    gain, tried = entry.gain, entry.tried
    return Rung(
        metric=problem.context.info.metric,
        share=tried.share,
        cut_from=entry.cut_from,
        predicted_ms=entry.predicted_ms,
        gain=gain,
        params=_parameters(problem, entry.network) / whole,
        blocks=len(lost_blocks(problem, entry.network)),
        imgsz=entry.imgsz,
        levers=entry.levers,
        short=entry.short.drop if entry.short else None,
        short_interval=entry.short.drop_interval if entry.short else None,
        long=entry.long.drop if entry.long else None,
        long_interval=entry.long.drop_interval if entry.long else None,
        slow=tried.slow,
        as_cut=entry.as_cut,
        chosen=entry is chosen,
    )


def _parameters(problem: Problem, network: Artifact) -> int:
    adapter = problem.context.adapter
    return sum(tensor.numel() for tensor in adapter.load(network.path).parameters())
