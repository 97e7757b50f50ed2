"""What `bench` and `check` are pointed at: an engine file, or a build folder with its rows."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from edgeprune.backends import REFERENCE, Recognised, get_backend, recognise
from edgeprune.bench.answers import facts_of, reference_of
from edgeprune.bench.foreign import explain_refusal
from edgeprune.bench.jobs import TOLERANCE_ACROSS, build_job, write_image, write_inputs
from edgeprune.bench.stock import photograph, stock_images
from edgeprune.bench.testbed import suits, why_unsuited
from edgeprune.config.limits import LIMITS
from edgeprune.config.targets import DeviceProfile, resolve_targets, shipped_profiles
from edgeprune.core.artifact import (
    SOURCE_ENDING,
    STAGES,
    SUMMARY,
    Artifact,
    Kind,
    digest_with_weights,
    source_beside,
)
from edgeprune.core.errors import CompileError, ConfigError, EdgepruneError, ModelError, NotComparableError
from edgeprune.core.files import inside
from edgeprune.images.preprocess import Preprocess
from edgeprune.images.size import size_of
from edgeprune.images.spec import spec_of
from edgeprune.records.bench_result import Job
from edgeprune.records.evaluated import read_resampled
from edgeprune.records.scores import Accuracy
from edgeprune.records.summary import Row, load_summary

_ENTRIES = 256  # of a folder in which an engine is looked for


@dataclass(frozen=True)
class Subject:
    """One engine on one target.

    Attributes:
        engine: what the device loads; of the kind ``onnx`` where the device has to compile it first, see
            `compile_subjects` of `bench/compiling.py`.
        accuracy, p50_ms: as a build recorded them, the accuracy on the selection split; else None.
        environment: variables that the runtime is started with.
        source: of an engine that only the device loads, the ONNX file that it was compiled from, where it is
            there: what it computes is held against that.
    """

    name: str
    engine: Artifact
    profile: DeviceProfile
    environment: dict[str, str]
    accuracy: Accuracy | None = None
    p50_ms: float | None = None
    source: Path | None = None

    @property
    def readable(self) -> Path:
        """The file that tells how inputs are made: any machine reads it."""
        return self.source or self.engine.path


def subjects_of(
    path: Path, target: str | None = None, chosen_only: bool = False, machine: str | None = None
) -> tuple[Subject, ...]:
    """Return what can be measured at a path: the rows of a build folder, or the one engine that lies there.

    Args:
        target: profile to run a lone engine by, or the only target of a build to return.
        chosen_only: of a build folder, only the chosen row of each target.
        machine: architecture of the device that is to run it, this very machine by default. Of a build, the
            rows of that architecture are returned, whether this machine has measured them or not. Those that
            it has to compile are of the kind ``onnx``; they are returned if `target` asks for them, or if
            there are no others. So is a lone ONNX file for a target that only the device compiles for.

    Raises:
        NotComparableError: a folder that holds neither a finished build nor an engine.
        ModelError: nothing at the path can be measured, or its name cannot be written into a result.
    """
    _require_text(path)
    if (path / SUMMARY).is_file():
        return _of_build(path, target, chosen_only, machine)
    return (_of_engine(path, target, machine),)


def _require_text(path: Path) -> None:
    try:
        f"{path} {os.path.realpath(path)}".encode()  # unlike `resolve`, no error for a loop of links
    except UnicodeEncodeError as exc:  # JSON, which a worker and a result are told in, has no such bytes
        raise ModelError(f"{str(path)!a}: its path is not valid UTF-8: rename it") from exc


def make_job(subject: Subject, threads: int, folder: Path) -> Job:
    """Write real inputs and the host's own outputs into a folder; return the job that measures a subject.

    The outputs are computed in a process of its own: see `reference_of` of `bench/answers.py`, also for the
    errors.
    """
    spec = engine_spec(subject.readable)
    job = build_job(
        subject.name,
        subject.engine,
        subject.profile,
        threads=threads,
        inputs=write_inputs(stock_images(spec["preprocess"]), folder / "inputs.npy"),
        environment=subject.environment,
        batch=spec["preprocess"].batch,
    )
    photo = write_image(photograph(), folder / "image.npy")
    stages = {part: value and value.told() for part, value in spec.items()}
    job = job.model_copy(update={"image": str(photo), **stages})
    if subject.profile.compile_on == "device" and not subject.profile.runs_here:
        return _held_against_source(job, subject, folder)
    reference = reference_of(job, folder / "answer")
    return job.model_copy(update={"reference": reference and str(reference)})


def _held_against_source(job: Job, subject: Subject, folder: Path) -> Job:
    """Return a job whose reference is what ONNX Runtime computes here of the file behind an engine.

    Without that file there is no reference: only the device loads the engine.
    """
    if subject.source is None:
        return job
    source = {"backend": REFERENCE, "engine": str(subject.source), "options": {}, "environment": {}}
    source["engine_sha256"] = digest_with_weights(subject.source)
    reference = reference_of(job.model_copy(update=source), folder / "answer")
    tolerance = TOLERANCE_ACROSS[subject.engine.precision]
    return job.model_copy(update={"reference": reference and str(reference), "tolerance": tolerance})


def engine_spec(engine: Path) -> dict[str, Any]:
    """Return how the engine says its inputs are made and its outputs read; a letterbox where it does not."""
    try:
        spec = spec_of(engine)
    except ModelError:
        return {"preprocess": plain_input(engine), "postprocess": None}
    return {"preprocess": spec.preprocess, "postprocess": spec.postprocess}


def plain_input(path: Path) -> Preprocess:
    """Read the shape of the input of an engine of any runtime; how images become it is a guess, a letterbox.

    Raises:
        ModelError: it does not take images of a fixed shape (n, 3, height, width).
    """
    backend, found = _recognised(path)
    told = found.precision is not None
    shape = (
        get_backend(backend).input_shape(found.engine)
        if told
        else facts_of(backend, found.engine).input_shape
    )
    if unfit := _unfit(shape, path.suffix == ".onnx"):
        sides = ", ".join(str(side or "?") for side in shape)
        raise ModelError(f"{path}: its input ({sides}) {unfit}")
    return Preprocess(size_of(shape[2], shape[3]), batch=shape[0])


def _unfit(shape: Sequence[int], is_onnx: bool) -> str | None:
    """Say why a network is not measured on RGB images (n, 3, height, width), and what to do."""
    if len(shape) != 4:
        return "is no image; a network of images (n, 3, height, width) is measured"
    batch, channels, height, width = shape
    tool = "python -m onnxruntime.tools.make_dynamic_shape_fixed with --input_name and --input_shape"
    fixed = f", or fix it by {tool} 1,3,640,640" if is_onnx else ""
    reasons = (
        (channels != 3 and width == 3, "has its channels last; export it as (n, 3, height, width)"),
        (
            0 in shape,
            f"is dynamic; export it for one size and one image (dynamic=False imgsz=640 batch=1){fixed}",
        ),
        (
            batch > LIMITS["images_at_once"].high,
            f"takes {batch} images at once; batches of up to {LIMITS['images_at_once'].high} are measured",
        ),
        (channels != 3, f"is of {channels} channels, not 3; networks of RGB images are measured"),
        (
            max(height, width) > LIMITS["imgsz"].high,
            f"is {height} by {width} pixels; images of up to {LIMITS['imgsz'].high} are measured",
        ),
    )
    return next((text for holds, text in reasons if holds), None)


def _of_build(
    folder: Path, target: str | None, chosen_only: bool, machine: str | None
) -> tuple[Subject, ...]:
    summary = load_summary(folder)
    names = set(summary.targets)
    if target and target not in names:
        names &= {profile.name for profile in resolve_targets((target,), machine)}
    elif target:
        names = {target}
    profiles = {name: summary.profile_of(name) for name in names}
    if machine is not None:
        profiles = {name: one for name, one in profiles.items() if suits(one, machine)}
    rows = [
        row
        for name, entry in summary.targets.items()
        for row in (filter(None, [entry.chosen]) if chosen_only else entry.rows)
        if name in profiles and _is_measured(row, profiles[name], machine is not None)
    ]
    if target is None:
        rows = [row for row in rows if not _is_source(row, profiles[row.target])] or rows
    if not rows:
        kind = "chosen " if chosen_only else "measured " if machine is None else ""
        where = f" on {target}" if target else ""
        there = f" that a device of {machine} Linux loads as it is" if machine else ""
        raise ModelError(f"{folder}: this build has no {kind}row{where}{there}")
    return tuple(_of_row(folder, row, profiles[row.target]) for row in rows)


def _is_measured(row: Row, profile: DeviceProfile, there: bool) -> bool:
    """Whether a row is measured: on a device always, here if it was timed and this machine may load it."""
    return there or (row.p50_ms is not None and profile.compile_on == "host")


def _is_source(row: Row, profile: DeviceProfile) -> bool:
    """Whether a row's file is what only the device compiles: the build had none."""
    return profile.compile_on == "device" and row.built is None


def _of_row(folder: Path, row: Row, profile: DeviceProfile) -> Subject:
    path = inside(folder, row.artifact, ModelError)
    kind: Kind = "onnx" if _is_source(row, profile) else "engine"
    engine = Artifact.of(path, kind, row.precision, built=row.built)
    if engine.sha256 != row.sha256:
        raise ModelError(f"{engine.path}: the engine is not the one that the build measured; build it again")
    source = source_beside(path)
    return Subject(row.label, engine, profile, row.environment, _accuracy(folder, row), row.p50_ms, source)


def _accuracy(folder: Path, row: Row) -> Accuracy | None:
    """Return the accuracy of a row with its resamples, where the build's stages are still there.

    Raises:
        ModelError: they lie outside the folder, or are damaged.
    """
    if row.val is None or row.evaluated is None:
        return row.val
    place = inside(folder, row.evaluated, ModelError)
    return row.val.with_resampled(read_resampled(place, row.val.split, ModelError))


def _of_engine(path: Path, target: str | None, machine: str | None) -> Subject:
    backend, found = _recognised(path)
    profiles = resolve_targets((target or "cpu",), machine)
    profile = next((profile for profile in profiles if profile.backend == backend), None)
    fit = _fitting(backend, machine)
    if profile is None and target is None and len(fit) == 1:
        profile = fit[0]
    if profile is None and backend == REFERENCE:
        profile = next((one for one in profiles if _compiles_onnx(one)), None)
    if profile is None:
        names = " or ".join(one.name for one in fit) or "PROFILE.yaml of your own"
        raise ConfigError(
            f"{path}: target {target or 'cpu'!r} does not run {backend} engines: --target {names}"
        )
    if machine is not None and not suits(profile, machine):
        raise ConfigError(f"{profile.name}: {why_unsuited(profile, 'the device', machine)}")
    if machine is None and not profile.runs_here:
        there = "; only the device compiles for it: name it by --device" if _compiles_onnx(profile) else ""
        raise CompileError(
            f"{profile.name}: this target is not this machine; nothing can be measured here{there}"
        )
    name = found.engine.name or found.engine.resolve().name
    precision = found.precision or facts_of(backend, found.engine).precision
    kind: Kind = "engine" if profile.backend == backend else "onnx"
    engine = Artifact.of(found.engine, kind, precision)
    return Subject(name, engine, profile, {}, source=source_beside(found.engine))


def _compiles_onnx(profile: DeviceProfile) -> bool:
    return profile.compile_on == "device" and get_backend(profile.backend).SOURCE == "onnx"


def _fitting(backend: str, machine: str | None) -> list[DeviceProfile]:
    """Return the shipped targets that run a runtime's engines on a machine, this very one by default.

    Boards are left out: they run what the target does that they are made from.
    """
    machine = machine or platform.machine()
    kinds = [one for one in shipped_profiles() if one.extends is None]
    return [one for one in kinds if one.backend == backend and suits(one, machine)]


def _recognised(path: Path) -> tuple[str, Recognised]:
    """Return the runtime of the engine at a path, and the engine; of a folder, the only one inside it.

    Raises:
        NotComparableError: a folder without an engine: it may be of a build that has not ended.
        ModelError: there is no engine of ours, or there are several.
    """
    found = recognise(path)
    if found and (found[1].engine == path or not path.is_dir()):
        return found
    if (path / STAGES).is_dir():
        raise NotComparableError(
            f"{path}: no finished build is here, there is no {SUMMARY}; the same build command goes on"
        )
    held = _held(path) if path.is_dir() else {}
    if len(held) > 1:
        names = ", ".join(engine.name for engine in held)
        raise ModelError(f"{path}: it holds {len(held)} engines; name the one to run: {names}")
    if not held:
        raise ModelError(explain_refusal(path))
    return next(iter(held.values()))


def _held(folder: Path) -> dict[Path, tuple[str, Recognised]]:
    """Return the engines in a folder, without those that are damaged or that no runtime here loads."""
    found = {}
    for entry in sorted(islice(folder.iterdir(), _ENTRIES)):
        if entry.name.endswith(SOURCE_ENDING):
            continue
        with contextlib.suppress(EdgepruneError):
            if one := recognise(entry):
                found[one[1].engine] = one
    return found
