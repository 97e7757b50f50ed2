"""What the tests of the harness measure: a tiny engine with its inputs and reference, and blocks by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.backends import get_backend
from edgeprune.bench.effort import BenchProfile
from edgeprune.bench.jobs import reference_outputs, write_inputs, write_reference
from edgeprune.core.artifact import Artifact
from edgeprune.records.bench_result import Block, Job
from recorded import Record, Recorded, unpack

TINY = BenchProfile(
    blocks=2, min_queries=40, min_seconds=0.05, warmup_s=0.0, warmup_cap_s=0.5, timeout_s=120.0
)
MakeBlock = Callable[..., Block]


@pytest.fixture
def tiny() -> BenchProfile:
    """Return the smallest profile that still runs two fresh processes per job."""
    return TINY


@pytest.fixture(scope="session")
def job(convnet: Path, random_images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Return the job that measures the tiny network in ONNX Runtime."""
    folder = tmp_path_factory.mktemp("job")
    session = get_backend("onnxruntime").load(convnet, "fp32", 1, {})
    return Job(
        name="tiny fp32",
        backend="onnxruntime",
        engine=str(convnet),
        engine_sha256=Artifact.of(convnet, "engine", "fp32").sha256,
        precision="fp32",
        threads=1,
        options={},
        inputs=str(write_inputs(random_images, folder / "inputs.npy")),
        reference=str(write_reference(reference_outputs(session, random_images), folder / "reference.npz")),
    )


@pytest.fixture
def make_block() -> MakeBlock:
    """Return a function that makes a block from samples in milliseconds."""

    def make(samples_ms: Sequence[float], **changes: Any) -> Block:
        samples = tuple(round(ms * 1e6) for ms in samples_ms)
        block = Block(
            pid=1,
            order=0,
            t_start=0.0,
            warmup_n=20,
            samples_ns=samples,
            elapsed_ns=sum(samples),
            canary_before_ns=1,
            canary_after_ns=1,
            ctxt_invol=0,
            majflt=0,
        )
        return block.model_copy(update=changes)

    return make


@pytest.fixture
def recorded(tmp_path: Path) -> Record:
    """Return a function that unpacks the recorded device of a name."""
    return lambda name: unpack(name, tmp_path / name)


@pytest.fixture
def nothing(tmp_path: Path) -> Recorded:
    """Return a device that tells nothing at all."""
    return Recorded(tmp_path / "nothing")
