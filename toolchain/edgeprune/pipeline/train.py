"""The stages that train: towards sparsity before the cut, back to accuracy after it, and for int8."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeprune.config.recipe import DEFAULT_RATIO, Recipe
from edgeprune.config.targets import DeviceProfile, SchemeName
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import EdgepruneError, InterruptedBuildError
from edgeprune.models import Training
from edgeprune.pipeline.context import Build
from edgeprune.pipeline.convert import scheme_of
from edgeprune.quantize.schemes import QDQ_SCHEMES
from edgeprune.records.pruning import SparseTraining

GENTLE = 0.3
"""Of the learning rate, in recoveries of what a search has cut."""


def sparsify(context: Build, original: Artifact) -> tuple[Artifact, SparseTraining | None]:
    """Return the model trained with the criterion's regulariser and the record, or the original and None."""
    recipe = context.recipe
    if recipe.sparse.epochs == 0:
        return original, None
    prune, tuning = recipe.prune, recipe.finetune
    growing = {"ratio": prune.ratio, "default_ratio": DEFAULT_RATIO, "max_ratio": prune.max_ratio}
    parts = {
        "model": original.sha256,
        "criterion": prune.criterion,
        "skip": prune.skip,
        "doomed": growing if prune.criterion == "growing_reg" else None,
        "sparse": recipe.sparse.model_dump(),
        "training": tuning.model_dump(exclude={"epochs", "patience", "distill"}),
        "seed": recipe.seed,
        "imgsz": context.spec.imgsz,
        "train": context.dataset.fingerprint("train"),
        "val": context.dataset.fingerprint("val"),
    }

    def make(out: Path) -> None:
        words = f"{prune.criterion} at strength {recipe.sparse.strength:.3g}"
        context.notify("sparse", 0.0, words)
        try:
            context.adapter.sparsify(
                Training(
                    student=original.path,
                    teacher=None,
                    dataset=context.dataset,
                    imgsz=context.spec.imgsz,
                    recipe=recipe,
                    out=out,
                    progress=lambda share, text: context.notify("sparse", share, f"{words}, {text}"),
                )
            )
        except EdgepruneError:
            if (log := out / "sparse.log").is_file():  # the stage's own folder goes away
                shutil.copy(log, context.request.out)
            raise

    read = context.network_with(SparseTraining, "sparse.json", original)
    return context.stage("sparse", parts, make, read, uses=context.of_pruning)


def recover(context: Build, student: Artifact, teacher: Artifact, epochs: int) -> Artifact:
    """Return a network that was cut a little trained back: gently, on images as they are.

    At the full rate, and on mosaics, the first epochs undo what the cut had left, and the others do not
    bring all of it back. mAP50-95 on val of YOLOv8n with ReLU (BCCD, 2026-11-30):

        cut to, epochs               before   full, mosaics   0.3 of it, mosaics   0.3, none
        70 % of latency, 320 px, 6   .4095                    .5045                .5276
        57 % of latency, 224 px, 60  .5635    .563            .561                 .566
    """
    gentle = {"lr0": context.recipe.finetune.lr0 * GENTLE, "mosaic": 0.0}
    return _finetuned(context, student, teacher, {"epochs": epochs, **gentle})


def finetune(context: Build, student: Artifact, teacher: Artifact, epochs: int | None = None) -> Artifact:
    """Return a pruned model trained back, taught by the unpruned one.

    Args:
        epochs: instead of the recipe's own.
    """
    return _finetuned(context, student, teacher, {} if epochs is None else {"epochs": epochs})


def _finetuned(
    context: Build, student: Artifact, teacher: Artifact, changes: Mapping[str, float]
) -> Artifact:
    recipe = context.recipe
    recipe = recipe.model_copy(update={"finetune": recipe.finetune.model_copy(update=changes)})
    parts = {"finetune": recipe.finetune.model_dump()}
    return _trained(context, "finetuned", parts, recipe, student, teacher, context.adapter.finetune)


def train_aware(context: Build, student: Artifact, teacher: Artifact, profile: DeviceProfile) -> Artifact:
    """Return a model trained on with int8's rounding in every pass, for the scheme of a target.

    Targets whose activations have the same kind of range share one training.
    """
    rules = QDQ_SCHEMES.get(scheme_of(context.recipe, profile))
    scheme: SchemeName = "ort-s8s8" if rules is not None and rules.symmetric else "ort-u8s8"
    recipe = context.recipe
    recipe = recipe.model_copy(update={"quantize": recipe.quantize.model_copy(update={"scheme": scheme})})
    parts = {
        "epochs": recipe.quantize.aware_epochs,
        "scheme": scheme,
        "training": recipe.finetune.model_dump(exclude={"epochs"}),
    }
    return _trained(context, "aware", parts, recipe, student, teacher, context.adapter.train_aware)


def _trained(
    context: Build,
    stage: str,
    parts: Mapping[str, Any],
    recipe: Recipe,
    student: Artifact,
    teacher: Artifact,
    train: Callable[[Training], None],
) -> Artifact:
    """Run a training as a stage; `parts` are what it depends on beside models, data and versions."""
    taught = recipe.finetune.distill
    parts = {
        "student": student.sha256,
        "teacher": teacher.sha256 if taught else None,
        "seed": recipe.seed,
        "imgsz": context.spec.imgsz,
        "train": context.dataset.fingerprint("train"),
        "val": context.dataset.fingerprint("val"),
        **parts,
    }

    def make(out: Path) -> None:
        best = out / "model.pt"
        try:
            train(
                Training(
                    student=student.path,
                    teacher=teacher.path if taught else None,
                    dataset=context.dataset,
                    imgsz=context.spec.imgsz,
                    recipe=recipe,
                    out=best,
                    progress=lambda share, text: context.notify(stage, share, text),
                )
            )
        except KeyboardInterrupt as exc:
            raise InterruptedBuildError(_rescued(best, context.request.out)) from exc
        except EdgepruneError:
            if (log := out / "finetune.log").is_file():  # the stage's own folder goes away
                shutil.copy(log, context.request.out)
            raise

    def read(place: Path) -> Artifact:
        return context.network(place / "model.pt", student)

    return context.stage(stage, parts, make, read, uses=context.of_model)


def _rescued(best: Path, out: Path) -> str:
    if not best.is_file():
        return "interrupted before the first epoch of a training ended; the same command starts it again"
    kept = out / "interrupted.pt"
    best.replace(kept)
    return f"interrupted in training; the best checkpoint so far is {kept}"
