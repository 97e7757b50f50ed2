"""The stages that make a model smaller: prune it, train it back. Cached by what goes into each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

from pydantic import TypeAdapter

from edgeprune.config.recipe import DEFAULT_RATIO, Recipe, Regularised
from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import ConfigError
from edgeprune.core.files import write_text_atomically
from edgeprune.pipeline.context import Build
from edgeprune.pipeline.prune_to_latency import Goal, descend, latency_goal, latency_table, speed_budget
from edgeprune.pipeline.train import finetune, sparsify, train_aware
from edgeprune.records.latency_table import LatencyTable
from edgeprune.records.pruning import PassReport, Pruning

_PASSES = TypeAdapter(tuple[PassReport, ...])


def prune_model(context: Build, original: Artifact, profile: DeviceProfile) -> tuple[Artifact, Pruning]:
    """Return the pruned model of a target, trained back, and the account of what was removed."""
    recipe = context.recipe
    dense, training = sparsify(context, original)
    dense, passes = apply_passes(context, dense, profile)
    changed = any(one.applied for one in passes)
    student, report = _cut(context, dense, original, profile, changed)
    report = report.model_copy(update={"sparse": training, "passes": passes})
    if recipe.finetune.epochs:
        student = finetune(context, student, original)
    if recipe.quantize.aware_epochs and "int8" in profile.precisions:
        student = train_aware(context, student, original, profile)
    return student, report


def apply_passes(
    context: Build, model: Artifact, profile: DeviceProfile
) -> tuple[Artifact, tuple[PassReport, ...]]:
    """Return the model after the recipe's passes (depth, convolutions, activation), and their account."""
    from edgeprune.latency.to_latency import reshape

    there = context.testbed.measures(profile)
    recipe = _decided(context.recipe, there)
    settings = recipe.prune
    if not settings.depth and not settings.rewrite and settings.activation == "keep":
        return model, ()
    by_table = there and (settings.depth or settings.rewrite)
    table = latency_table(context, model, profile, settings.rewrite) if by_table else None
    parts = {
        "model": model.sha256,
        "depth": settings.depth,
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
    return context.stage("reshaped", parts, make, read, uses=uses, times=times)


def _decided(recipe: Recipe, is_measured: bool) -> Recipe:
    """Return a recipe that names its activation: only what is measured and trained is swapped unasked."""
    if recipe.prune.activation != "auto":
        return recipe
    activation = "relu" if is_measured and recipe.finetune.epochs else "keep"
    return recipe.model_copy(update={"prune": recipe.prune.model_copy(update={"activation": activation})})


def _cut(
    context: Build, dense: Artifact, teacher: Artifact, profile: DeviceProfile, changed: bool
) -> tuple[Artifact, Pruning]:
    """Cut a model to the recipe's goal; without one, to its budgets of speed where these ask for it.

    Args:
        changed: whether it has blocks, convolutions or activations that its weights do not know yet.
    """
    recipe = context.recipe
    budget = speed_budget(recipe) if context.testbed.measures(profile) else None
    if budget or recipe.prune.goal in ("latency_ms", "speedup"):
        table = latency_table(context, dense, profile)
        goal = latency_goal(recipe, table)
        if goal:
            if changed and recipe.finetune.epochs:  # each cut will be judged: they come first
                dense = finetune(context, dense, teacher)
            return _to_latency(context, dense, teacher, profile, table, goal)
        context.notify("prune", 1.0, f"fast enough unpruned: {table.whole_ms:.2f} ms by the latency table")
    if recipe.prune.steps > 1:
        return _in_steps(context, dense, teacher, profile)
    return _to_size(context, dense, profile)


def _to_latency(
    context: Build,
    dense: Artifact,
    teacher: Artifact,
    profile: DeviceProfile,
    table: LatencyTable,
    goal: Goal,
) -> tuple[Artifact, Pruning]:
    from edgeprune.latency.to_latency import describe_descent

    descent = descend(context, dense, teacher, profile, table, goal)
    recipe, imgsz = context.recipe.prune, context.spec.imgsz
    report = describe_descent(
        context.adapter, dense.path, descent.model.path, imgsz, recipe, table.step, goal.words
    )
    return descent.model, report.model_copy(update={"iterations": descent.iterations})


def _in_steps(
    context: Build, dense: Artifact, teacher: Artifact, profile: DeviceProfile
) -> tuple[Artifact, Pruning]:
    """Cut a model to a share of its size in several cuts, each with a short recovery but for the last one.

    Raises:
        ConfigError: rounded to the channel step, all of them together cut nothing.
    """
    recipe, model = context.recipe, dense
    for number in range(1, recipe.prune.steps + 1):
        part = replace(context, request=replace(context.request, recipe=_part_way(recipe, number)))
        shorter, report = _to_size(part, model, profile, dense)
        if shorter != model and number < recipe.prune.steps:
            shorter = finetune(context, shorter, teacher, recipe.prune.step_epochs)
        model = shorter
    if report.params_after == report.params_before:
        raise ConfigError(
            f"{report.goal} prunes nothing: rounded to steps of {profile.step} channels every layer keeps "
            "its width; ask for more"
        )
    return model, report


def _part_way(recipe: Recipe, number: int) -> Recipe:
    """Return a recipe whose goal is that of the cut of that number, 1 for the first."""
    settings = recipe.prune
    share = number / settings.steps

    def removed(ratio: float) -> float:
        return float(1 - (1 - ratio) ** share)

    goal = (
        {"macs": settings.macs**share}
        if settings.macs is not None
        else {"ratio": removed(DEFAULT_RATIO if settings.ratio is None else settings.ratio)}
    )
    ratios = {pattern: removed(ratio) for pattern, ratio in settings.ratios.items()}
    return recipe.model_copy(update={"prune": settings.model_copy(update={**goal, "ratios": ratios})})


def _to_size(
    context: Build, dense: Artifact, profile: DeviceProfile, uncut: Artifact | None = None
) -> tuple[Artifact, Pruning]:
    """Cut a model to the recipe's share of channels or of work, of `uncut` where that is given."""
    from edgeprune.prune.stages import cut

    recipe = context.recipe
    parts = {
        "model": dense.sha256,
        "prune": recipe.prune.model_dump() | {"default_ratio": DEFAULT_RATIO},
        "step": profile.step,
        "imgsz": context.spec.imgsz,
        "seed": recipe.seed,
        "train": context.dataset.fingerprint("train"),
        "val": context.dataset.fingerprint("val"),
    }
    if uncut:
        parts["uncut"] = uncut.sha256

    def make(out: Path) -> None:
        untrained = recipe.prune.criterion in get_args(Regularised) and recipe.sparse.epochs == 0
        note = ", on weights without sparse training (sparse.epochs is 0)" if untrained else ""
        context.notify("prune", 0.0, f"{recipe.prune.criterion}, steps of {profile.step} channels{note}")
        report = cut(context.pruning, dense, profile.step, out, uncut)
        kept = report.params_after / report.params_before
        limit = report.limit
        most = f"; {limit.ratio:.0%} of the channels could go before a layer is empty" if limit else ""
        context.notify("prune", 1.0, f"{kept:.0%} of the parameters kept{most}")

    read = context.network_with(Pruning, "pruning.json", dense)
    return context.stage("pruned", parts, make, read, uses=context.of_pruning)
