"""Pruning to a latency: cut a little, prove it faster on the target, recover, and so on to the budget.

Each iteration is a few cached stages, so that a build that was stopped goes on with the next one. What the
target does not run faster is refused; when accuracy falls through the floor the last good model is kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from edgeprune.config.recipe import Recipe
from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import BudgetError, ConfigError
from edgeprune.core.files import write_text_atomically
from edgeprune.gate.race import Race
from edgeprune.pipeline.context import SELECTION_SPLIT, Build, reader_of
from edgeprune.pipeline.train import finetune
from edgeprune.records.latency_table import LatencyTable, load_table, save_table
from edgeprune.records.pruning import Iteration
from edgeprune.records.scores import Accuracy

MOST_REFUSED = 3
CLOSE = 1.02
"""What is this near to its goal has reached it: two networks of one latency differ by as much in pairs."""


@dataclass(frozen=True)
class Descent:
    """Where the iterations have come to.

    Attributes:
        model: the last one that was kept, recovered.
        predicted_ms: its latency by the table.
        measured_ms: what the pairs on the target have made of the unpruned network's latency.
    """

    model: Artifact
    predicted_ms: float
    measured_ms: float
    iterations: tuple[Iteration, ...]


class Goal(NamedTuple):
    """A latency to prune to, and what asks for it in the words of the report."""

    ms: float
    words: str


def latency_goal(recipe: Recipe, table: LatencyTable, own_ms: float) -> Goal | None:
    """Return the latency to prune to: the recipe's own, its speed-up's, or the one that its budgets ask for.

    None when it has no such goal, or when the unpruned network is fast enough for its budgets.

    Args:
        own_ms: latency of the user's own network, that speed-ups count from; see `own_latency`.
    """
    settings = recipe.prune
    if settings.latency_ms is not None:
        return Goal(settings.latency_ms, f"{settings.latency_ms:.2f} ms")
    if settings.speedup is not None:
        ms = own_ms / settings.speedup
        return Goal(ms, f"speed-up {settings.speedup:g} ({ms:.2f} ms)")
    budget = speed_budget(recipe)
    return budget if budget and budget.ms < table.whole_ms else None


def own_latency(
    context: Build, profile: DeviceProfile, table: LatencyTable, original: Artifact, uncut: Artifact
) -> float:
    """Return what the user's own network takes at the pace of a table, in ms.

    Args:
        uncut: what the table is of: the original, or what passes before the cut made of it.
    """
    if original == uncut:
        return table.whole_ms
    return table.whole_ms / (1 + race_models(context, profile, original, uncut, table).change)


def speed_budget(recipe: Recipe) -> Goal | None:
    """Return the stricter of the budgets of latency and frame rate, None where a goal of pruning is given."""
    fps, ms = recipe.budget.min_fps, recipe.budget.max_latency_ms
    if recipe.prune.goal is not None:
        return None
    goals = []
    if fps is not None:
        per_batch = 1000 * recipe.batch / fps
        goals.append(Goal(per_batch, f"{fps:g} FPS ({per_batch:.2f} ms)"))
    goals += [Goal(ms, f"{ms:.2f} ms")] if ms is not None else []
    return min(goals, default=None)


def latency_table(
    context: Build, model: Artifact, profile: DeviceProfile, rewrite: Sequence[str] = ()
) -> LatencyTable:
    """Return the latency table of a model on the device, in the precision that ships; measured once.

    Args:
        rewrite: kinds of rewriting whose factors it holds too.

    Raises:
        ConfigError: the target is not measured there.
    """
    from edgeprune.latency.profile import profile_model
    from edgeprune.latency.shipped import subject_of

    if not context.testbed.measures(profile):
        raise ConfigError(
            f"{profile.name}: this target is not measured here, so nothing can be pruned to a latency; "
            "give prune.ratio or prune.macs"
        )
    parts: dict[str, Any] = {
        "model": model.sha256,
        "imgsz": context.spec.imgsz,
        "target": profile.traits,
        "threads": context.recipe.bench.threads,
    }
    if context.spec.batch > 1:
        parts["batch"] = context.spec.batch
    if rewrite:
        parts["rewrite"] = list(rewrite)

    def make(out: Path) -> None:
        subject = subject_of(
            context.adapter,
            model.path,
            context.spec.imgsz,
            profile,
            profile.ship,
            context.recipe.bench.threads,
            context.spec.batch,
        )
        table = profile_model(subject, context.testbed, context.notify, rewrite=rewrite)
        save_table(table, out / "table.json")

    def measure() -> LatencyTable:
        place, table = context.stage(
            "table",
            parts,
            make,
            lambda place: (place, load_table(place / "table.json")),
            uses=(*context.of_pruning, *context.of_runtime(profile.backend)),
            times=(profile.backend,),
        )
        if table.unfit:
            shutil.rmtree(place)  # what others bent is measured again by whoever needs it next
        return table

    table = measure()
    if table.unfit:
        context.notify("table", 0.0, f"measured again: {'; '.join(table.caveats())}")
        table = measure()
    for caveat in table.caveats() if table.unfit else ():
        context.notify("table", 1.0, caveat)
    return table


def require_reachable(
    context: Build, model: Artifact, profile: DeviceProfile, table: LatencyTable, wanted: Goal
) -> None:
    """Refuse a latency that no widths reach: before anything is trained.

    Raises:
        BudgetError: no widths reach it; the message names the fastest that do.
    """
    if wanted.ms >= table.whole_ms:
        return
    try:
        cut(context, model, table, wanted.ms)
    except BudgetError as exc:
        raise BudgetError(f"{profile.name}: {wanted.words}: {exc}") from exc


def descend(
    context: Build,
    start: Artifact,
    teacher: Artifact,
    profile: DeviceProfile,
    table: LatencyTable,
    wanted: Goal,
) -> Descent:
    """Cut a model step by step to a latency, keeping what is proven faster and still accurate.

    The table chooses the widths and the target has the last word: where the last network came out slower than
    predicted, the table is asked for as much less, and it goes on until the measured latency is at the goal.

    Args:
        start: the unpruned model, or one trained to be sparse.
        teacher: what the recovery distils from.

    Raises:
        BudgetError: no widths reach the goal, or no cut was faster on the target.
        ConfigError: the unpruned model reaches it.
    """
    settings, goal = context.recipe.prune, wanted.ms
    if goal >= table.whole_ms:
        raise ConfigError(
            f"{profile.name}: unpruned it takes {table.whole_ms:.2f} ms and the goal is {goal:.2f} ms: "
            "there is nothing to prune; build with --no-prune"
        )
    require_reachable(context, start, profile, table, wanted)
    metric = context.info.metric
    floor = torch_accuracy(context, start) - settings.floor
    now = Descent(start, table.whole_ms, table.whole_ms, ())
    aim = now.measured_ms
    refused = 0
    while now.measured_ms > goal * CLOSE and refused < MOST_REFUSED:
        aim = goal if settings.one_shot else max(goal, aim * (1 - settings.stride))
        context.notify("prune", _share(table.whole_ms, aim, goal), f"to {aim:.2f} ms of {goal:.2f} ms")
        try:
            step, cut_ms = cut(context, now.model, table, aim * now.predicted_ms / now.measured_ms)
        except BudgetError:
            break  # the goal itself is within reach: what is out of reach is to make up for the table's error
        run = race_models(context, profile, now.model, step, table)
        why = "" if run.faster else f"not faster on the target ({run.change:+.1%}, at most {run.high:+.1%})"
        score = None
        model = step
        if not why and not settings.one_shot:
            model = finetune(context, step, teacher, settings.step_epochs)
            score = torch_accuracy(context, model)
            why = "" if score >= floor else f"{metric} {score:.4f} is below the floor {floor:.4f}"
        entry = Iteration(
            goal_ms=aim,
            predicted_before_ms=now.predicted_ms,
            predicted_ms=cut_ms,
            measured_ms=run.after_ms,
            before_ms=run.before_ms,
            change=run.change,
            metric=metric,
            score=score,
            refused=why,
        )
        entries = (*now.iterations, entry)
        if not why:
            now, refused = Descent(model, cut_ms, now.measured_ms * (1 + run.change), entries), 0
            continue
        now = replace(now, iterations=entries)
        if score is not None or settings.one_shot:
            break  # rolled back: smaller ones will not be more accurate
        refused += 1
    if now.model == start:
        raise BudgetError(f"{profile.name}: no cut was kept: {now.iterations[-1].refused}")
    return now


def _share(whole: float, aim: float, goal: float) -> float:
    return (whole - aim) / (whole - goal)


def cut(context: Build, model: Artifact, table: LatencyTable, goal_ms: float) -> tuple[Artifact, float]:
    """Return a model cut to a latency by the table, not trained, and the latency the table predicts, ms."""
    from edgeprune.latency.to_latency import Cut, cut_to_latency

    recipe = context.recipe
    parts = {
        "model": model.sha256,
        "table": table.model_dump(mode="json"),
        "goal_ms": goal_ms,
        "prune": recipe.prune.model_dump(),
        "imgsz": context.spec.imgsz,
        "seed": recipe.seed,
        "train": context.dataset.fingerprint("train"),
    }

    def make(out: Path) -> None:
        cut_to_latency(context.pruning, model.path, table, goal_ms, out)

    read = context.network_with(Cut, "cut.json", model)
    network, found = context.stage("cut", parts, make, read, uses=context.of_pruning)
    return network, found.predicted_ms


def race_models(
    context: Build, profile: DeviceProfile, before: Artifact, after: Artifact, table: LatencyTable
) -> Race:
    """Measure two models side by side on the target, in the precision that ships."""
    from edgeprune.latency.to_latency import race_checkpoints

    parts = {
        "before": before.sha256,
        "after": after.sha256,
        "target": profile.traits,
        "table": table.key.model_dump(),
        "shape": context.spec.batch_shape,
    }

    def make(out: Path) -> None:
        run = race_checkpoints(
            context.adapter,
            before.path,
            after.path,
            context.spec.imgsz,
            profile,
            table,
            context.testbed,
        )
        write_text_atomically(out / "race.json", run.model_dump_json())

    return context.stage(
        "raced",
        parts,
        make,
        reader_of(Race, "race.json"),
        uses=(*context.of_export, *context.of_runtime(profile.backend)),
        times=(profile.backend,),
    )


def torch_accuracy(context: Build, model: Artifact) -> float:
    """Return the score of a model in torch on the split that choices are made on."""
    from edgeprune.models.predictor import predictor

    parts = {
        "model": model.sha256,
        "imgsz": context.spec.imgsz,
        "data": context.dataset.fingerprint(SELECTION_SPLIT),
    }

    def make(out: Path) -> None:
        context.notify("evaluate", 0.0, f"torch fp32 on {SELECTION_SPLIT}")
        module = context.adapter.exportable(context.adapter.load(model.path))
        found = context.adapter.evaluate(
            predictor(module), context.dataset, SELECTION_SPLIT, context.spec, context.info.postprocess
        )
        write_text_atomically(out / "accuracy.json", found.model_dump_json())

    read = reader_of(Accuracy, "accuracy.json")
    return context.stage("torch-accuracy", parts, make, read, uses=context.of_model).score
