"""The stages that make a model smaller: prune it, train it back. Cached by what goes into each."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgeprune.artifact import Artifact
from edgeprune.build import Build
from edgeprune.device import DeviceProfile
from edgeprune.errors import EdgepruneError, InterruptedBuildError
from edgeprune.recipe import DEFAULT_RATIO
from edgeprune.summary import Pruning
from edgeprune.timing import machine


def pruned(context: Build, original: Artifact, profile: DeviceProfile) -> tuple[Artifact, Pruning]:
    """Return the pruned model of a target, trained back, and the account of what was removed."""
    from edgeprune.prune.stages import cut, latency_share

    recipe = context.recipe
    measured = {"target": profile.name, "machine": machine()} if recipe.prune.speedup else {}
    inputs = {
        "model": original.sha256,
        "prune": recipe.prune.model_dump() | {"default_ratio": DEFAULT_RATIO},
        "step": profile.step,
        "imgsz": context.spec.imgsz,
        "seed": recipe.seed,
        "val": context.dataset.fingerprint("val"),
        "measured": measured,
        "versions": context.using("torch", "torch-pruning", "ultralytics"),
    }

    def make(out: Path) -> None:
        share = None
        if recipe.prune.speedup:
            share = latency_share(context.adapter, original, context.spec, context.dataset, recipe, profile)
        context.notify("prune", 0.0, f"{recipe.prune.criterion}, steps of {profile.step} channels")
        report = cut(
            context.adapter, original, context.dataset, context.spec, recipe, profile.step, share, out
        )
        kept = report.params_after / report.params_before
        context.notify("prune", 1.0, f"{kept:.0%} of the parameters kept")

    place = context.store.stage("pruned", inputs, make)
    report = Pruning.model_validate_json((place / "pruning.json").read_text(encoding="utf-8"))
    student = Artifact.of(place / "model.pt", "torch", "fp32", original.sha256)
    if recipe.finetune.epochs == 0:
        return student, report
    return _finetuned(context, student, original), report


def _finetuned(context: Build, student: Artifact, teacher: Artifact) -> Artifact:
    recipe = context.recipe
    inputs = {
        "student": student.sha256,
        "teacher": teacher.sha256,
        "finetune": recipe.finetune.model_dump(),
        "seed": recipe.seed,
        "imgsz": context.spec.imgsz,
        "train": context.dataset.fingerprint("train"),
        "val": context.dataset.fingerprint("val"),
        "versions": context.using("torch", "ultralytics"),
    }

    def make(out: Path) -> None:
        best = out / "model.pt"
        try:
            context.adapter.finetune(
                student.path,
                teacher.path if recipe.finetune.distill else None,
                context.dataset,
                context.spec.imgsz,
                recipe,
                best,
                lambda share, text: context.notify("finetune", share, text),
            )
        except KeyboardInterrupt as exc:
            raise InterruptedBuildError(_rescued(best, context.request.out)) from exc
        except EdgepruneError:
            if (log := out / "finetune.log").is_file():  # the stage's own folder goes away
                shutil.copy(log, context.request.out)
            raise

    place = context.store.stage("finetuned", inputs, make)
    return Artifact.of(place / "model.pt", "torch", "fp32", student.sha256)


def _rescued(best: Path, out: Path) -> str:
    if not best.is_file():
        return "interrupted before the first epoch of fine-tuning ended; the same command starts it again"
    kept = out / "interrupted.pt"
    best.replace(kept)
    return f"interrupted in fine-tuning; the best checkpoint so far is {kept}"
