"""An engine that only the device can compile: made there by the worker `worker/compile.py`, brought here."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from edgeprune.backends import get_backend, options_for
from edgeprune.bench.ask import ask
from edgeprune.bench.subject import Subject
from edgeprune.bench.testbed import Testbed, as_testbed
from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import SOURCE_ENDING, Artifact, Built, digest, parts_of
from edgeprune.core.backend import modules_of
from edgeprune.core.documents import read_record
from edgeprune.core.errors import CompileError, DeviceError
from edgeprune.core.files import inside
from edgeprune.runners import Runner

TIMEOUT_S = 2 * 3600.0
"""A large network in many precisions takes most of an hour on a small board."""


class _Compiled(BaseModel):
    """What the worker answers, see `worker/compile.py`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    engine: str
    files: dict[str, str]
    built: Built
    found: bool


def compile_for(
    testbed: Testbed,
    profile: DeviceProfile,
    model: Artifact,
    precision: str,
    out: Path,
    options: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Artifact:
    """Compile a model for a target into a folder: here, or on the device where only that can.

    Args:
        options: of the runtime; those of the profile at this precision by default.
        say: told in a few words what happens on the device.

    Returns:
        The engine, in `out`; one of the device knows where it was built, and has its source beside it.

    Raises:
        CompileError: the runtime refuses the model, or is missing.
        DeviceError: the device was lost, ran out of memory or time, or answered with garbage.
    """
    options = options_for(profile, precision) if options is None else dict(options)
    if not testbed.compiles(profile):
        return get_backend(profile.backend).compile(model, precision, options, out)
    runner, where = testbed.runner, f"{testbed.runner.name}: {profile.name} {precision}"
    say(f"{precision} on {runner.name}")
    job = {
        "backend": profile.backend,
        "model": runner.push(model.path),
        "sha256": model.sha256,
        "kind": model.kind,
        "precision": precision,
        "options": options,
        "machine": testbed.machine,
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            answer = ask(runner, "compile", job, Path(folder), TIMEOUT_S)
        except DeviceError as exc:
            raise _refused(where, exc) from exc
        try:
            compiled = read_record(_Compiled, answer, DeviceError)
        except DeviceError as exc:
            raise DeviceError(f"{where}: the worker that compiles answered with garbage") from exc
    say("found there" if compiled.found else f"built there in {compiled.built.seconds:.0f} s")
    for name, sha256 in compiled.files.items():
        here = inside(out, name, DeviceError)
        here.parent.mkdir(parents=True, exist_ok=True)
        if digest(runner.pull(f"{compiled.folder}/{name}", here)) != sha256:
            raise DeviceError(f"{where}: {name!r} is not what was compiled there; the same command goes on")
    engine = inside(out, compiled.engine, DeviceError)
    if model.kind == "onnx" and len(parts_of(model.path)) == 1:  # one with weights beside it is too large
        shutil.copyfile(model.path, engine.with_suffix(SOURCE_ENDING))
    return Artifact.of(engine, "engine", precision, model.sha256, compiled.built)


def compile_subjects(
    subjects: Sequence[Subject], runner: Runner, folder: Path, say: Callable[[str], None] = lambda text: None
) -> list[Subject]:
    """Return subjects as the device of a runner loads them: those it has to compile are compiled there.

    Args:
        folder: on this machine, for the engines.
        say: told in a few words what happens on the device.

    Raises:
        CompileError: the runtime refuses a model, or nothing there runs its engines.
        DeviceError: the device lacks a runtime, or see `compile_for`.
    """
    profiles = [one.profile for one in subjects]
    if all(profile.compile_on == "host" for profile in profiles):
        runner.python(*modules_of(profile.backend for profile in profiles))
        return list(subjects)
    bed = as_testbed(runner, profiles)
    for profile in profiles:
        bed.require(profile)
    return [
        _compiled(bed, subject, folder / f"engine{index}", say) if subject.engine.kind == "onnx" else subject
        for index, subject in enumerate(subjects)
    ]


def _compiled(bed: Testbed, subject: Subject, out: Path, say: Callable[[str], None]) -> Subject:
    out.mkdir()
    model = subject.engine
    engine = compile_for(bed, subject.profile, model, model.precision, out, say=say)
    return replace(subject, engine=engine, source=model.path)


def _refused(where: str, exc: DeviceError) -> CompileError | DeviceError:
    """Return the error of a worker that ended: the runtime's own word, or that its memory ran out."""
    if exc.returncode == CompileError.exit_code:
        return CompileError(f"{where}: {exc.said}")
    if exc.returncode in (-9, 137):
        return DeviceError(
            f"{where}: the device killed the build of the engine, as it does when its memory runs out; "
            "nothing half built is left. Stop what else runs there (the desktop: sudo init 3), add swap, or "
            "build a smaller input or batch"
        )
    return DeviceError(f"{where}: the engine was not built: {exc}")
