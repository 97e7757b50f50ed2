"""The worker that compiles: an engine of a model, where only the device that runs it can make it.

``python -m edgeprune.worker.compile JOB.json OUT.json``. The engine stays in the device's cache folder until
nobody has asked for it for a week. So a build whose connection was lost finds it there when it comes again,
and never half of it: it is made aside and named when it is whole. It travels to the device: it needs the
standard library, numpy and the runtime.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprune.backends import get_backend
from edgeprune.core.artifact import Artifact, content_key, digest, digest_with_weights, parts_of
from edgeprune.core.documents import read_json
from edgeprune.core.errors import EdgepruneError, ModelError
from edgeprune.core.files import write_text_atomically
from edgeprune.core.resources import cache_dir
from edgeprune.worker.benchmark import serve
from edgeprune.worker.scenarios.block import say
from edgeprune.worker.sensors.cpu import read_model

KEPT_DAYS = 7.0
NOTE = "compiled.json"
_KEY = ("backend", "sha256", "kind", "precision", "options", "machine")
_ASIDE = ".partial-"


def main(argv: Sequence[str]) -> int:
    """Compile one model; see `serve` of `worker/benchmark.py`.

    A child does it: where memory runs out, the kernel kills the process that holds most of it. This one then
    removes what the child has left half built, and ends as it did.
    """
    child = os.fork()
    if not child:
        return serve(argv, run)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        _sweep(_root())
        os.kill(os.getpid(), -code)
    return code


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Compile a model, or find its engine from an earlier time.

    Args:
        job: ``backend``, ``model`` (a path), ``sha256`` and ``kind`` of it, ``precision``, ``options``; and
            ``machine``, what makes an engine this device's.

    Returns:
        ``folder`` that the engine lies in, ``engine``, its name there, ``files``: the sha256 of each file by
        its name; ``built``: where and how long, as `core.artifact.Built`; and ``found``: whether it was
        there already.

    Raises:
        CompileError: the runtime refuses the model.
        ModelError: the model is not the one that the job was written for.
    """
    model, backend = Path(job["model"]), get_backend(job["backend"])
    if digest_with_weights(model) != job["sha256"]:
        raise ModelError(f"{model}: not the model that was to be compiled (its sha256 differs)")
    version = backend.version() or backend.builder()
    root = _root()
    _sweep(root)
    place = root / content_key({name: job[name] for name in _KEY} | {"version": version})
    if found := _whole(place):
        return found | {"folder": str(place), "found": True}
    say("compile", share=0.0)
    aside = Path(tempfile.mkdtemp(prefix=f"{_ASIDE}{os.getpid()}-", dir=root))
    try:
        started = time.monotonic()
        artifact = Artifact(model, job["kind"], job["precision"], job["sha256"])
        engine = backend.compile(artifact, job["precision"], job["options"], aside).path
        built = {
            "device": read_model(),
            "arch": platform.machine(),
            "runtime": f"{backend.name} {version}",
            "seconds": round(time.monotonic() - started, 3),
        }
        files = {file.relative_to(aside).as_posix(): digest(file) for file in parts_of(aside)}
        note = {"engine": engine.relative_to(aside).as_posix(), "files": files, "built": built}
        write_text_atomically(aside / NOTE, json.dumps(note))
        with contextlib.suppress(OSError):  # another session has just made the same
            shutil.rmtree(place, ignore_errors=True)
            aside.rename(place)
        if (kept := _whole(place)) is None:
            raise ModelError(f"{place}: what was compiled is not whole there any more")
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return kept | {"folder": str(place), "found": False}


def _whole(place: Path) -> dict[str, Any] | None:
    """Return what was noted of an engine, None where it is not there or not whole."""
    try:
        note: dict[str, Any] = read_json(place / NOTE, ModelError)
        if any(digest(place / name) != sha256 for name, sha256 in note["files"].items()):
            return None
        os.utime(place)
    except (EdgepruneError, OSError, KeyError, AttributeError):
        return None
    return note


def _root() -> Path:
    root = cache_dir() / "compiled"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return root


def _sweep(root: Path) -> None:
    """Remove what nobody has asked for, and what a process that was killed has left half built."""
    for old in root.iterdir():
        with contextlib.suppress(OSError):  # another session is at it
            if _is_left(old.name) or time.time() - old.stat().st_mtime > KEPT_DAYS * 86400:
                shutil.rmtree(old)


def _is_left(name: str) -> bool:
    maker = name.removeprefix(_ASIDE).partition("-")[0]
    if not name.startswith(_ASIDE) or not maker.isdigit():
        return False
    try:
        os.kill(int(maker), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # it is another user's
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
