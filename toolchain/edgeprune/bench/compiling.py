"""An engine that only the device can compile: made there by the worker `worker/compile.py`, brought here."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from edgeprune.backends import get_backend, options_for
from edgeprune.bench.ask import ask
from edgeprune.bench.testbed import Testbed
from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact, Built, digest
from edgeprune.core.documents import read_record
from edgeprune.core.errors import CompileError, DeviceError
from edgeprune.core.files import inside

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
        The engine, in `out`; one of the device knows where it was built.

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
    return Artifact.of(engine, "engine", precision, model.sha256, compiled.built)


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
