"""The stages that time rows on the device: which environment an engine is fastest in, and the benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprune.backends import options_for
from edgeprune.bench.jobs import LEAST_INPUTS, build_job, write_inputs
from edgeprune.bench.protocol import measure
from edgeprune.bench.tune import fastest_environment
from edgeprune.config.recipe import BenchLength
from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import DataError
from edgeprune.core.files import write_text_atomically
from edgeprune.images.preprocess import load_input
from edgeprune.images.size import size_text
from edgeprune.pipeline.context import SELECTION_SPLIT, Build, Candidate, reader_of
from edgeprune.records.bench_result import BenchResult, Job, load_result, result_file, save_result

BENCH_INPUTS = 32


def tune(context: Build, profile: DeviceProfile, engine: Artifact) -> dict[str, str]:
    """Return the environment variables under which this engine is fastest there, by measurement."""
    choices = profile.environments_for(engine.precision)
    if not choices or not context.testbed.measures(profile):
        return {}
    parts = {
        "engine": engine.sha256,
        "options": options_for(profile, engine.precision),
        "choices": choices,
        "threads": context.recipe.bench.threads,
    }

    bed = context.testbed

    def make(out: Path) -> None:
        context.notify("tune", 0.0, f"{profile.name} {engine.precision}")
        tensors = write_inputs(bench_images(context), out / "inputs.npy")
        job = build_job(
            "plain",
            engine,
            profile,
            threads=context.recipe.bench.threads,
            inputs=tensors,
            batch=context.spec.batch,
        )
        best = fastest_environment(job, choices, bed.runner, bed.effort.tuning)
        tensors.unlink()
        write_text_atomically(out / "environment.json", json.dumps(best))
        context.notify("tune", 1.0, " ".join(f"{key}={value}" for key, value in best.items()) or "as it is")

    read = reader_of(dict[str, str], "environment.json")
    return context.stage("tuned", parts, make, read, times=(profile.backend,))


def measure_rows(
    context: Build, candidates: list[Candidate], length: BenchLength | None = None
) -> dict[str, tuple[BenchResult, Path]]:
    """Time all candidates side by side; return each row's result and its file, by the row's name.

    Args:
        length: profile of the protocol; the recipe's own by default.
    """
    if not candidates:
        return {}
    settings = context.recipe.bench
    length = length or settings.profile
    parts = {
        "rows": {
            entry.name: [
                entry.artifact.sha256,
                options_for(entry.profile, entry.precision),
                entry.environment,
            ]
            for entry in candidates
        },
        "imgsz": context.spec.imgsz,
        "bench": {"profile": length, "threads": settings.threads},
        "data": context.dataset.fingerprint(SELECTION_SPLIT),
    }

    def make(out: Path) -> None:
        tensors = {
            imgsz: write_inputs(bench_images(context.at(imgsz)), out / f"inputs-{size_text(imgsz)}.npy")
            for imgsz in {entry.imgsz for entry in candidates}
        }
        jobs: list[Job] = [
            build_job(
                entry.name,
                entry.artifact,
                entry.profile,
                threads=settings.threads,
                inputs=tensors[entry.imgsz],
                environment=entry.environment,
                batch=context.spec.batch,
            ).model_copy(update={"reference": entry.reference and str(entry.reference)})
            for entry in candidates
        ]
        results = measure(
            jobs,
            context.testbed.effort.profiles[length],
            context.testbed.runner,
            lambda done, total, text: context.notify("bench", done / max(total, 1), text),
        )
        for result in results:
            save_result(result, out / result_file(result.name))
        for file in tensors.values():
            file.unlink()

    def read(place: Path) -> dict[str, tuple[BenchResult, Path]]:
        paths = {entry.name: place / result_file(entry.name) for entry in candidates}
        return {name: (load_result(path), path) for name, path in paths.items()}

    runtimes = {entry.profile.backend for entry in candidates}
    return context.stage("bench", parts, make, read, times=tuple(runtimes))


def bench_images(context: Build) -> Any:
    """Return up to 32 real inputs, float32 (n, 3, H, W), from as many splits as it takes."""
    paths: list[Path] = []
    for split in (SELECTION_SPLIT, "train", "test"):
        if split in context.dataset.images and len(paths) < BENCH_INPUTS:
            paths += context.dataset.sample(split, BENCH_INPUTS - len(paths), context.recipe.seed)
    images = np.concatenate([load_input(path, context.spec)[0] for path in paths])
    return shift_copies(images, LEAST_INPUTS)


def shift_copies(images: npt.NDArray[np.float32], least: int) -> npt.NDArray[np.float32]:
    """Return inputs, float32 (n, 3, H, W), with copies shifted to the side until `least` are different.

    What a row takes does not depend on what an image shows, but on its being another one than before.

    Raises:
        DataError: shifting changes nothing: each image is of one colour.
    """
    distinct = {image.tobytes(): image for image in images}
    for step in range(1, images.shape[3]):
        for image in images if len(distinct) < least else ():
            moved = np.ascontiguousarray(np.roll(image, step, axis=2))
            distinct.setdefault(moved.tobytes(), moved)
    if len(distinct) < least:
        raise DataError(
            f"the data set: engines are timed on at least {least} different images; these are of one colour "
            f"each, and only {len(distinct)} of them differ"
        )
    enough = len({image.tobytes() for image in images}) >= least
    return images if enough else np.stack(list(distinct.values())[: max(least, len(images))])
