"""What a search starts from: the latency table, the input sizes, the pace of training, the plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact
from edgeprune.core.files import write_text_atomically
from edgeprune.images.size import ImageSize
from edgeprune.latency.to_latency import least_latency
from edgeprune.pipeline.context import Build, reader_of
from edgeprune.pipeline.prune_to_latency import latency_table
from edgeprune.pipeline.solve.account import plan_words
from edgeprune.pipeline.solve.levers import RIVALS, cost_at, input_sizes
from edgeprune.pipeline.solve.moves import Plan
from edgeprune.pipeline.solve.plan import GAPS, Pace, plan_search
from edgeprune.pipeline.solve.rungs import Problem, least_work, measure_pace
from edgeprune.records.latency_table import LatencyTable
from edgeprune.records.pruning import PassReport
from edgeprune.records.scores import Accuracy

MARGIN = 1.02
"""The smallest size that is asked for, over the smallest that there is."""
PACING = 0.05
"""Share of the hours that the pace of training may take to measure."""
WORTH_PACING = 20
"""Searches of fewer epochs are over before their pace is measured."""


class Networks(NamedTuple):
    """The networks that a search begins with.

    Attributes:
        original: the user's own.
        plain: what sparse training made of it, the original without any.
        uncut: what passes before the cut made of `plain`; the same where they changed nothing.
        passes: their account.
    """

    original: Artifact
    plain: Artifact
    uncut: Artifact
    passes: tuple[PassReport, ...] = ()


class Begun(NamedTuple):
    """A search before its first move.

    Attributes:
        pace: None where training was not timed.
        sizes: input sizes that may be taken, the build's own first.
        notes: what there is to know of it, a sentence each.
    """

    problem: Problem
    plan: Plan
    pace: Pace | None
    sizes: tuple[ImageSize, ...]
    notes: tuple[str, ...]


def begin(
    context: Build,
    networks: Networks,
    profile: DeviceProfile,
    baseline: Mapping[str, Accuracy],
    until: float | None,
    pace: Pace | None,
) -> Begun:
    """Return what a search starts from: its latency table, its inputs and its plan, which is said.

    Args:
        until: when the time is up, by `Store.now`; None where it is not bounded.
        pace: where it is known already, see `pace_within`.
    """
    original, uncut = networks.original, networks.uncut
    table, notes = _table(context, uncut, profile)
    problem = Problem(context, profile, original, uncut, table, baseline, networks.passes)
    sizes = input_sizes(problem)
    least = least_share(problem) * cost_at(problem, sizes[-1])
    gap = GAPS["latency" if table else "macs"]
    recipe, changed, rivals = context.recipe, uncut != original, min(RIVALS, len(sizes))
    plan = plan_search(recipe, least, gap=gap, changed=changed, rivals=rivals)
    if pace is None and plan.long and plan.shares and plan.epochs >= WORTH_PACING:
        pace = measure_pace(context, uncut, original)
    if pace is not None and until is not None:
        plan = _plan_within(problem, plan, least, pace, until)
    context.notify("solve", 0.0, plan_words(plan, pace))
    return Begun(problem, plan, pace, sizes, notes)


def _plan_within(problem: Problem, whole: Plan, least: float, pace: Pace, until: float) -> Plan:
    """Return a plan shortened to the time that is left: the one that was made first, where a build goes on.

    A later one would have other epochs, so nothing that was trained by the first could be taken.
    """
    context = problem.context
    recipe = context.recipe
    parts = {
        "network": problem.uncut.sha256,
        "target": problem.profile.name,
        "whole": asdict(whole),
        "pace": asdict(pace),
        "hours": recipe.solve.hours,
    }

    def make(out: Path) -> None:
        seconds, changed = until - context.store.now(), whole.first > 0
        plan = plan_search(recipe, least, pace, seconds, whole.gap, changed, whole.rivals)
        write_text_atomically(out / "plan.json", json.dumps(asdict(plan)))

    return context.stage("plan", parts, make, reader_of(Plan, "plan.json"))


def pace_within(context: Build, plain: Artifact, original: Artifact) -> Pace | None:
    """Return the pace of training where the search has hours to keep to, and trains; else None.

    It is measured before anything else, since what there is time for hangs on it, and takes a small share of
    the hours itself.

    Args:
        plain: the network before passes and cuts.
    """
    recipe = context.recipe
    if recipe.solve.hours is None or not recipe.finetune.epochs:
        return None
    return measure_pace(context, plain, original, PACING * 3600 * recipe.solve.hours)


def _table(
    context: Build, uncut: Artifact, profile: DeviceProfile
) -> tuple[LatencyTable | None, tuple[str, ...]]:
    """Return the target's latency table, if it is measured and can be trusted, and notes."""
    if not context.testbed.measures(profile):
        return None, ("the target is not measured here, so sizes are shares of multiply-accumulates",)
    table = latency_table(context, uncut, profile)
    if not table.unfit:
        return table, ()
    why = "; ".join(table.caveats())
    return None, (f"sizes are shares of multiply-accumulates, since the latency table is unfit: {why}",)


def least_share(problem: Problem) -> float:
    """Return the smallest share of the cost that a cut may leave, by `prune.max_ratio` and the step."""
    if (table := problem.table) is None:
        return min(least_work(problem) * MARGIN, 1.0)
    least = least_latency(problem.context.pruning, problem.uncut.path, table)
    return min(least / table.whole_ms * MARGIN, 1.0)
