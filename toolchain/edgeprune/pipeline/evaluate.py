"""The accuracy of an engine as a stage: on this machine, or on the device where it is to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from edgeprune.backends import get_backend, options_for
from edgeprune.bench.inference import DeviceEngine
from edgeprune.bench.jobs import build_job, reference_outputs, write_reference
from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact
from edgeprune.core.files import write_text_atomically
from edgeprune.models import Predict
from edgeprune.pipeline.context import Build
from edgeprune.pipeline.measure import bench_images
from edgeprune.records.evaluated import read_accuracy, write_accuracy
from edgeprune.records.resampling.draws import RESAMPLES
from edgeprune.records.scores import Accuracy
from edgeprune.worker.scenarios.block import CHECKED_INPUTS


def evaluate_there(
    context: Build, profile: DeviceProfile, engine: Artifact
) -> tuple[Path, dict[str, Accuracy]]:
    """Return of an engine on the device what `evaluate_engine` returns: the images go there."""
    parts = {
        "engine": engine.sha256,
        "precision": engine.precision,
        "options": options_for(profile, engine.precision),
        "imgsz": context.spec.imgsz,
        "resamples": RESAMPLES,
        "data": {split: context.dataset.fingerprint(split) for split in context.splits},
    }
    bed, batch, threads = context.testbed, context.spec.batch, context.recipe.bench.threads

    def make(out: Path) -> None:
        name = f"{profile.name} {engine.precision}"
        job = build_job(name, engine, profile, threads=threads, inputs=out, batch=batch)
        there = DeviceEngine(job, bed.runner, context.spec)

        def prepare(split: str, index: int) -> Predict:
            def say(share: float) -> None:
                text = f"{name} on {split}, on {bed.runner.name}"
                context.notify("evaluate", (index + share) / len(context.splits), text)

            there.say = say
            there.expect(context.dataset.images[split])
            return there

        _judge(context, out, prepare)
        there.expect(())
        outputs = there(bench_images(context)[:CHECKED_INPUTS])
        write_reference(outputs, out / "reference.npz")
        ops = there.answer.quantized_ops if there.answer else None
        write_text_atomically(out / "quantized_ops.json", json.dumps(ops))
        context.notify("evaluate", 1.0, name)

    read = partial(_evaluated, context)
    return context.stage("accuracy", parts, make, read, uses=context.of_model, times=(profile.backend,))


def evaluate_engine(
    context: Build, backend_name: str, options: dict[str, str], engine: Artifact, precision: str
) -> tuple[Path, dict[str, Accuracy]]:
    """Return the folder of an engine's evaluation, its outputs in it as reference, and its accuracies."""
    backend = get_backend(backend_name)
    parts = {
        "engine": engine.sha256,
        "precision": precision,
        "options": options,
        "imgsz": context.spec.imgsz,
        "resamples": RESAMPLES,
        "data": {split: context.dataset.fingerprint(split) for split in context.splits},
    }

    def make(out: Path) -> None:
        session = context.load(backend, engine.path, precision, options)

        def prepare(split: str, index: int) -> Predict:
            context.notify("evaluate", index / len(context.splits), f"{backend_name} {precision} on {split}")
            return session

        _judge(context, out, prepare)
        ops = backend.quantized_ops(engine.path) if precision == "int8" else None
        write_text_atomically(out / "quantized_ops.json", json.dumps(ops))
        outputs = reference_outputs(session, bench_images(context), context.spec.batch)
        write_reference(outputs, out / "reference.npz")
        context.notify("evaluate", 1.0, f"{backend_name} {precision}")

    uses = (*context.of_runtime(backend_name), *context.of_model)
    return context.stage("accuracy", parts, make, partial(_evaluated, context), uses=uses)


def _judge(context: Build, out: Path, prepare: Callable[[str, int], Predict]) -> None:
    """Write the accuracy on each split.

    Args:
        prepare: returns what predicts on a split, by its name and its place among the splits.
    """
    for index, split in enumerate(context.splits):
        write_accuracy(judge_split(context, split, prepare(split, index)), out)


def judge_split(context: Build, split: str, predict: Predict) -> Accuracy:
    """Return the accuracy of a model on a split, with its scores on the resamples."""
    dataset = context.dataset
    found = context.adapter.evaluate(predict, dataset, split, context.spec, context.info.postprocess)
    images = [dataset.index.digest(image) for image in dataset.images[split]]
    return found.with_resampled(found.resample(images))


def _evaluated(context: Build, place: Path) -> tuple[Path, dict[str, Accuracy]]:
    return place, {split: read_accuracy(place, split) for split in context.splits}
