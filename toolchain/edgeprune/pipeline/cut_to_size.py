"""Cut a model to a share of its channels or of its work, on the channel step, in one cut or in several."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from edgeprune.config.recipe import DEFAULT_RATIO, Recipe, Regularised
from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import ConfigError
from edgeprune.pipeline.context import Build
from edgeprune.pipeline.train import finetune
from edgeprune.records.pruning import Pruning


def cut_to_size(
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


def cut_in_steps(
    context: Build, dense: Artifact, teacher: Artifact, profile: DeviceProfile
) -> tuple[Artifact, Pruning]:
    """Cut a model to a share of its size in several cuts, each with a short recovery but for the last one.

    Raises:
        ConfigError: rounded to the channel step, all of them together cut nothing.
    """
    recipe, model = context.recipe, dense
    for number in range(1, recipe.prune.steps + 1):
        shorter, report = cut_to_size(context.by(_part_way(recipe, number)), model, profile, dense)
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
