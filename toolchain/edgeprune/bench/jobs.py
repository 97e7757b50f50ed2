"""Jobs for the worker: what is to be measured, on which inputs, and what it has to compute on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeprune.backends import options_for
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import DataError
from edgeprune.records.bench_result import Job
from edgeprune.worker.scenarios.block import CHECKED_INPUTS

if TYPE_CHECKING:
    from edgeprune.config.targets import DeviceProfile
    from edgeprune.images.batches import Run

    Array = np.ndarray[Any, Any]

LEAST_INPUTS = 16
# What the worker's outputs may differ by from the host's, relative L2: another instruction set may round a
# value to the neighbouring step of the precision.
TOLERANCE = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 2e-2, "int8": 2e-2}
# The same where another runtime computes the reference, of the same file. TensorRT rounds fp32 to TF32, which
# has the mantissa of fp16. In int8 two detectors differed by 0.004 and 0.022 between ONNX Runtime and
# OpenVINO: five times that is another network, or none.
TOLERANCE_ACROSS = TOLERANCE | {"fp32": 1e-2, "int8": 0.1}


def build_job(
    name: str,
    engine: Artifact,
    profile: DeviceProfile,
    *,
    threads: int,
    inputs: Path,
    environment: Mapping[str, str] | None = None,
    batch: int = 1,
) -> Job:
    """Return the job that measures `engine` on this machine as the device profile wants it run.

    Args:
        name: unique name of the row.
        inputs: file of `write_inputs`.
        environment: variables that the runtime reads when it is imported.
        batch: images that the engine takes at once.
    """
    return Job(
        name=name,
        backend=profile.backend,
        engine=str(engine.path),
        engine_sha256=engine.sha256,
        engine_parent=engine.parent,
        engine_built=engine.built,
        precision=engine.precision,
        threads=threads,
        options=options_for(profile, engine.precision),
        environment=dict(environment or {}),
        tolerance=TOLERANCE[engine.precision],
        inputs=str(inputs),
        batch=batch,
    )


def write_inputs(images: Array, path: Path) -> Path:
    """Write the tensors that the workers rotate over.

    Args:
        images: preprocessed real images, float32, shape (n, 3, H, W), at least 16 of them distinct.

    Raises:
        DataError: they are too few, all alike, or of another shape or type.
    """
    if images.ndim != 4 or images.dtype != np.float32:
        raise DataError(f"{path}: inputs are float32 (n, 3, H, W), not {images.dtype} {images.shape}")
    distinct = len({image.tobytes() for image in images})
    if distinct < LEAST_INPUTS:
        raise DataError(f"{path}: {distinct} distinct images; timing rotates over at least {LEAST_INPUTS}")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.ascontiguousarray(images), allow_pickle=False)
    return path


def write_image(image: npt.NDArray[np.uint8], path: Path) -> Path:
    """Write the image that the stages are timed on: uint8 (h, w, 3), BGR."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.ascontiguousarray(image), allow_pickle=False)
    return path


def reference_outputs(run: Run, images: Array, batch: int = 1) -> list[Array]:
    """Return the outputs for the first 32 images, each of shape (n, ...): what a worker has to reproduce.

    Args:
        run: takes up to `batch` images at once.
    """
    checked = images[:CHECKED_INPUTS]
    each = [run(checked[start : start + batch]) for start in range(0, len(checked), batch)]
    return [np.concatenate(outputs) for outputs in zip(*each, strict=True)]


def write_reference(outputs: Sequence[Array], path: Path) -> Path:
    """Write reference outputs as an ``.npz`` file with ``out0``, ``out1`` ..."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {f"out{index}": output for index, output in enumerate(outputs)}
    np.savez(path, **arrays)
    return path
