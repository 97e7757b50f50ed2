"""Whether a device computes what this machine computes, where its time says nothing: emulated devices.

Nothing here reads a clock, and the result has no field for a latency.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from edgeprune import __version__
from edgeprune.bench.answers import Answer, ask_engine
from edgeprune.bench.jobs import TOLERANCE, build_job
from edgeprune.bench.stock import stock_images
from edgeprune.bench.subject import Subject, engine_spec
from edgeprune.core.artifact import SUMMARY
from edgeprune.core.backend import modules_of
from edgeprune.core.errors import ConfigError, DataError, ModelError, NotComparableError
from edgeprune.core.files import write_text_atomically
from edgeprune.core.resources import own_command
from edgeprune.images.dataset import read_dataset
from edgeprune.images.heads import HEADS
from edgeprune.images.preprocess import load_input
from edgeprune.images.spec import spec_of
from edgeprune.records.bench_result import Job, result_file
from edgeprune.records.summary import load_summary
from edgeprune.runners import Runner
from edgeprune.runners.local import LocalRunner
from edgeprune.runners.sysroot import wheels_for

if TYPE_CHECKING:
    from edgeprune.runners.emulated import EmulatedRunner

    Array = np.ndarray[Any, Any]

SCHEMA_VERSION = 1
IMAGES = 8  # an emulated inference takes seconds
TIMEOUT_S = 7200.0
OnShare = Callable[[float, str], None]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Output(_Record):
    """One output of the network on both sides.

    Attributes:
        shape: of the host's output for one image.
        relative_l2: of the image that differs most; None where shapes differ or a value is not finite.
    """

    shape: tuple[int, ...]
    relative_l2: float | None


class Decisions(_Record):
    """What the outputs were read as, by the artifact's own spec; see `images.heads.Shared`."""

    what: str
    count: int
    shared: int


class Agreement(_Record):
    """One artifact, computed here and on an emulated device.

    Attributes:
        device: address, machine, processor, emulator, Debian's packages and the wheels there.
        inputs: ``n``, ``shape`` of one, ``sha256`` of all and ``source``.
        tolerance: largest allowed relative L2 error of an output.
        decisions: None where the artifact does not say how its output is read.
    """

    schema_version: int = SCHEMA_VERSION
    compared_utc: str
    name: str
    tool: dict[str, Any]
    artifact: dict[str, Any]
    device: dict[str, Any]
    here: Answer
    there: Answer
    inputs: dict[str, Any]
    outputs: tuple[Output, ...]
    tolerance: float
    decisions: Decisions | None

    @property
    def agrees(self) -> bool:
        """Whether every output is inside the tolerance and every decision is shared."""
        errors = [output.relative_l2 for output in self.outputs]
        close = all(error is not None and error <= self.tolerance for error in errors)
        return (
            bool(errors)
            and close
            and (self.decisions is None or self.decisions.shared == self.decisions.count)
        )

    @property
    def worst(self) -> float | None:
        """The largest relative L2 error, None where there is none that is a number."""
        errors = [output.relative_l2 for output in self.outputs]
        return None if not errors or None in errors else max(error for error in errors if error is not None)


def compare_subjects(
    subjects: Sequence[Subject], threads: int, runner: EmulatedRunner, on_share: OnShare
) -> Iterator[Agreement]:
    """Run each subject here and on the device, and yield how they agree, one by one as they are done.

    Those whose runtime cannot be emulated come last, so that they keep no other from being compared.

    Raises:
        DeviceError: the device lacks a runtime, or its worker crashed, hung, or answered with garbage.
    """
    able = wheels_for(runner.machine)
    ordered = sorted(subjects, key=lambda subject: subject.profile.backend not in able)
    for index, subject in enumerate(ordered):
        runner.python(*modules_of([subject.profile.backend]))

        def say(share: float, text: str, index: int = index, name: str = subject.name) -> None:
            on_share((index + share) / len(subjects), f"{name}, {text}")

        with tempfile.TemporaryDirectory(prefix="edgeprune-agreement-") as folder:
            yield _compare(subject, threads, runner, Path(folder), say)
    on_share(1.0, "done")


def real_images(engine: Path) -> tuple[Array, str]:
    """Return preprocessed images, float32 (8, 3, H, W), and a few words about where they are from.

    They are of the validation split of the build that the engine lies in, as long as its data is there;
    else, and where OpenCV is not installed to read them, crops of photographs.
    """
    spec = engine_spec(engine)
    pre, post = spec["preprocess"], spec["postprocess"]
    for folder in engine.resolve().parents:
        if (folder / SUMMARY).is_file():
            with contextlib.suppress(ConfigError, DataError, NotComparableError, ImportError):
                summary = load_summary(folder)
                split, data = summary.selection_split, Path(summary.data["path"])
                dataset = read_dataset(data, post.names if post else ())
                images = [load_input(path, pre)[0] for path in dataset.sample(split, IMAGES, seed=0)]
                return np.concatenate(images), f"{split} split of the build"
    return stock_images(pre)[:IMAGES], "stock photographs"


def save_agreement(agreement: Agreement, folder: Path) -> Path:
    """Write an agreement's file, atomically."""
    path = folder / result_file(f"{agreement.name}.{agreement.device['machine']}")
    write_text_atomically(path, agreement.model_dump_json(indent=1) + "\n")
    return path


def _compare(subject: Subject, threads: int, runner: EmulatedRunner, folder: Path, say: OnShare) -> Agreement:
    images, source = real_images(subject.engine.path)
    np.save(folder / "inputs.npy", images, allow_pickle=False)
    job = build_job(
        subject.name,
        subject.engine,
        subject.profile,
        threads=threads,
        inputs=folder / "inputs.npy",
        environment=subject.environment,
        batch=engine_spec(subject.engine.path)["preprocess"].batch,
    )
    say(0.0, "on this machine")
    (folder / "here").mkdir()
    here, expected = ask_engine(job, LocalRunner(), folder / "here", TIMEOUT_S, lambda said: None)
    there, outputs = _device_answer(job, runner, folder, say)
    return Agreement(
        compared_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        name=subject.name,
        tool={"name": "edgeprune", "version": __version__, "argv": own_command()},
        artifact={
            "path": str(subject.engine.path),
            "sha256": subject.engine.sha256,
            "precision": subject.engine.precision,
            "target": subject.profile.name,
            "backend": subject.profile.backend,
        },
        device=runner.describe(),
        here=here,
        there=there,
        inputs={
            "n": len(images),
            "shape": [1, *images.shape[1:]],
            "sha256": hashlib.sha256(images.tobytes()).hexdigest(),
            "source": source,
        },
        outputs=compare_outputs(expected, outputs),
        tolerance=TOLERANCE[subject.engine.precision],
        decisions=_decisions(subject.engine.path, expected, outputs),
    )


def _device_answer(job: Job, runner: Runner, folder: Path, say: OnShare) -> tuple[Answer, list[Array]]:
    def follow(said: Mapping[str, Any]) -> None:
        if said.get("phase") == "load":
            say(0.05, f"{runner.name} loads it")
        elif said.get("phase") == "answer":
            say(0.3 + 0.7 * said["share"], f"on {runner.name}")

    return ask_engine(job, runner, folder, TIMEOUT_S, follow)


def compare_outputs(expected: Sequence[Array], outputs: Sequence[Array]) -> tuple[Output, ...]:
    """Return the relative L2 error of each output, of the image where it is largest.

    Args:
        expected, outputs: arrays (n, ...) of n images; one that is missing on a side differs.
    """
    compared = []
    for index in range(max(len(expected), len(outputs))):
        sides = [side[index] for side in (expected, outputs) if index < len(side)]
        error = _relative_l2(*sides) if len(sides) == 2 and sides[0].shape == sides[1].shape else None
        compared.append(Output(shape=(1, *sides[0].shape[1:]), relative_l2=error))
    return tuple(compared)


def _relative_l2(expected: Array, output: Array) -> float | None:
    wanted, got = (array.astype(np.float64).reshape(len(array), -1) for array in (expected, output))
    distance, norm = np.linalg.norm(got - wanted, axis=1), np.linalg.norm(wanted, axis=1)
    # Of an output that is all zero the distance itself is told.
    errors = distance / np.where(norm > 0, norm, 1.0)
    return float(errors.max()) if np.isfinite(errors).all() else None


def _decisions(engine: Path, expected: Sequence[Array], outputs: Sequence[Array]) -> Decisions | None:
    same_shapes = bool(expected and outputs) and expected[0].shape == outputs[0].shape
    if not same_shapes or not all(np.isfinite(side[0]).all() for side in (expected, outputs)):
        return None  # the outputs tell already that they differ
    try:
        post = spec_of(engine).postprocess
    except ModelError:
        return None
    shared = HEADS[post.head].shared(expected, outputs, post)
    return None if shared is None else Decisions(**asdict(shared))
