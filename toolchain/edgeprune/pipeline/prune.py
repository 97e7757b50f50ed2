"""The stages that make a model smaller: prune it, train it back. Cached by what goes into each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact
from edgeprune.core.files import write_text_atomically
from edgeprune.images.size import ImageSize
from edgeprune.pipeline.context import Build
from edgeprune.pipeline.cut_to_size import cut_in_steps, cut_to_size
from edgeprune.pipeline.prune_to_latency import (
    Goal,
    descend,
    latency_goal,
    latency_table,
    own_latency,
    require_reachable,
    speed_budget,
)
from edgeprune.pipeline.solve.begin import Networks, pace_within
from edgeprune.pipeline.solve.plan import leaves_first
from edgeprune.pipeline.solve.run import solve
from edgeprune.pipeline.solve.rungs import Entry
from edgeprune.pipeline.train import finetune, sparsify, train_aware
from edgeprune.records.latency_table import LatencyTable
from edgeprune.records.pruning import PassReport, Pruning
from edgeprune.records.scores import Accuracy

_PASSES = TypeAdapter(tuple[PassReport, ...])


class Pruned(NamedTuple):
    """The pruned model of a target, its input size, the account of what went, and what a search has tried.

    There is no model where a search found nothing to cut.
    """

    model: Artifact | None
    imgsz: ImageSize
    report: Pruning
    tried: tuple[Entry, ...] = ()


def prune_targets(
    context: Build, original: Artifact, targets: Sequence[DeviceProfile], baseline: Mapping[str, Accuracy]
) -> Mapping[str, Pruned]:
    """Prune a model for each target; return what became of it by the target's name.

    A search begins on the target that runs the model fastest: that is where the build's choice will be. The
    others begin with the sizes that it tried. The recipe's hours are for all of them together.

    Args:
        baseline: accuracy of the original by split.
    """
    hours = context.recipe.solve.hours
    until = None if hours is None else context.store.now() + 3600 * hours
    found: dict[str, Pruned] = {}
    tried: tuple[Entry, ...] = ()
    for profile in _fastest_first(context, original, targets):
        pruned = prune_model(context, original, profile, baseline, tried, until)
        found[profile.name] = pruned
        tried = tried or pruned.tried
    return found


def _fastest_first(
    context: Build, original: Artifact, targets: Sequence[DeviceProfile]
) -> Sequence[DeviceProfile]:
    """Return targets by what their latency tables, which a search needs anyway, say of the uncut network."""

    def whole_ms(profile: DeviceProfile) -> float:
        if profile not in measured:
            return math.inf
        plain, _ = sparsify(context, original)
        dense, _ = apply_passes(context, plain, original, profile)
        return latency_table(context, dense, profile).whole_ms

    measured = [profile for profile in targets if context.testbed.measures(profile)]
    if not context.recipe.solves or len(measured) < 2:
        return targets
    return sorted(targets, key=whole_ms)


def prune_model(
    context: Build,
    original: Artifact,
    profile: DeviceProfile,
    baseline: Mapping[str, Accuracy],
    tried: Sequence[Entry] = (),
    until: float | None = None,
) -> Pruned:
    """Prune a model for a target and train it back: to the recipe's goal, else to the budget of accuracy.

    Args:
        baseline: accuracy of the original by split.
        tried: sizes that the search for another target of this build has tried.
        until: when the time of a search is up, by `Store.now`; None where it is not bounded.
    """
    recipe = context.recipe
    plain, training = sparsify(context, original)
    dense, passes = apply_passes(context, plain, original, profile)
    changed = any(one.applied for one in passes)
    found = _cut(context, dense, original, profile, changed)
    if found is None:
        networks = Networks(original, plain, dense, passes)
        chosen, report, entries = solve(context, networks, profile, baseline, tried, until)
        model, imgsz = (chosen.best, chosen.imgsz) if chosen else (None, context.spec.imgsz)
        pruned = Pruned(model, imgsz, report, entries)
    else:
        student, report = found
        if recipe.finetune.epochs:
            student = finetune(context, student, original)
        pruned = Pruned(student, context.spec.imgsz, report.model_copy(update={"passes": passes}))
    if pruned.model and recipe.quantize.aware_epochs and "int8" in profile.precisions:
        aware = train_aware(context.at(pruned.imgsz), pruned.model, original, profile)
        pruned = pruned._replace(model=aware)
    return pruned._replace(report=pruned.report.model_copy(update={"sparse": training}))


def apply_passes(
    context: Build, model: Artifact, teacher: Artifact, profile: DeviceProfile
) -> tuple[Artifact, tuple[PassReport, ...]]:
    """Return the model after the recipe's passes (depth, convolutions, activation), and their account."""
    from edgeprune.latency.to_latency import reshape

    there = context.testbed.measures(profile)
    activation, why = _decide_activation(context, model, teacher, there)
    left = (PassReport(name="activation", refused=(why,)),) if why else ()
    recipe = context.recipe
    recipe = recipe.model_copy(update={"prune": recipe.prune.model_copy(update={"activation": activation})})
    settings = recipe.prune
    if not settings.depth and not settings.rewrite and settings.activation == "keep":
        return model, left
    by_table = there and (settings.depth or settings.rewrite)
    table = latency_table(context, model, profile, settings.rewrite) if by_table else None
    parts = {
        "model": model.sha256,
        "depth": settings.depth or 0,
        "rewrite": settings.rewrite,
        "activation": settings.activation,
        "skip": settings.skip,
        "imgsz": context.spec.imgsz,
        "val": context.dataset.fingerprint("val"),
    }
    if there:  # what is not measured is the same for every target
        parts["judged"] = {
            "target": profile.traits,
            "threads": recipe.bench.threads,
            "table": table and table.model_dump(mode="json"),
        }

    def make(out: Path) -> None:
        context.notify("passes", 0.0, "depth, convolutions, activation")
        reports = reshape(
            replace(context.pruning, recipe=recipe),
            model.path,
            profile,
            table,
            context.testbed if there else None,
            out,
        )
        write_text_atomically(out / "passes.json", _PASSES.dump_json(reports).decode())
        context.notify(
            "passes", 1.0, "; ".join(what for one in reports for what in one.applied) or "none kept"
        )

    read = context.network_with(tuple[PassReport, ...], "passes.json", model)
    uses = (*context.of_model, *(context.of_runtime(profile.backend) if there else ()))
    times = (profile.backend,) if there else ()
    network, reports = context.stage("reshaped", parts, make, read, uses=uses, times=times)
    return network, (*reports, *left)


def _decide_activation(
    context: Build, model: Artifact, teacher: Artifact, is_measured: bool
) -> tuple[str, str]:
    """Return the activation that the network gets, and why it is none where the hours speak against it.

    Only what is measured and trained is swapped unasked.
    """
    recipe = context.recipe
    if recipe.prune.activation != "auto":
        return recipe.prune.activation, ""
    if not is_measured or not recipe.finetune.epochs:
        return "keep", ""
    hours = recipe.solve.hours
    pace = pace_within(context, model, teacher) if recipe.solves else None
    if hours is not None and pace is not None and not leaves_first(recipe, pace, 3600 * hours):
        return "keep", "relu: the hours are too few to train the network with it before any cut"
    return "relu", ""


def _cut(
    context: Build, dense: Artifact, teacher: Artifact, profile: DeviceProfile, changed: bool
) -> tuple[Artifact, Pruning] | None:
    """Cut a model to the recipe's goal, its budgets of speed or the default; None if a size is searched for.

    Args:
        changed: whether it has blocks, convolutions or activations that its weights do not know yet.
    """
    recipe = context.recipe
    budget = speed_budget(recipe) if context.testbed.measures(profile) else None
    if budget or recipe.prune.goal in ("latency_ms", "speedup"):
        table = latency_table(context, dense, profile)
        own_ms = table.whole_ms
        if recipe.prune.speedup is not None:
            own_ms = own_latency(context, profile, table, teacher, dense)
        goal = latency_goal(recipe, table, own_ms)
        if goal and changed and goal.ms >= table.whole_ms:
            context.notify("prune", 1.0, f"fast enough uncut: {table.whole_ms:.2f} ms by the latency table")
            return dense, _account(context, dense, dense, table, goal)
        if goal:
            require_reachable(context, dense, profile, table, goal)
            if changed and recipe.finetune.epochs:  # each cut will be judged: they come first
                dense = finetune(context, dense, teacher)
            return _to_latency(context, dense, teacher, profile, table, goal)
        context.notify("prune", 1.0, f"fast enough unpruned: {table.whole_ms:.2f} ms by the latency table")
    if recipe.prune.steps > 1:
        return cut_in_steps(context, dense, teacher, profile)
    return None if recipe.solves else cut_to_size(context, dense, profile)


def _to_latency(
    context: Build,
    dense: Artifact,
    teacher: Artifact,
    profile: DeviceProfile,
    table: LatencyTable,
    goal: Goal,
) -> tuple[Artifact, Pruning]:
    descent = descend(context, dense, teacher, profile, table, goal)
    report = _account(context, dense, descent.model, table, goal)
    return descent.model, report.model_copy(update={"iterations": descent.iterations})


def _account(context: Build, before: Artifact, after: Artifact, table: LatencyTable, goal: Goal) -> Pruning:
    from edgeprune.latency.to_latency import describe_descent

    recipe, imgsz = context.recipe.prune, context.spec.imgsz
    sized = ((before.path, imgsz), (after.path, imgsz))
    return describe_descent(context.adapter, *sized, recipe, table.step, goal.words)
