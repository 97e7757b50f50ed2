"""Converters whose pins fight ours: each in a virtual environment of its own, in the user's cache.

A virtual environment cannot be moved, so it is made in its place, under a lock, and a marker is written last:
without the marker it is not there. Its folder is named after a hash of the pins and of the interpreter, so
another version of edgeprune or of Python makes one of its own.
"""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from edgeprune.core.artifact import Artifact, content_key
from edgeprune.core.backend import all_backends, get_backend, known_backends
from edgeprune.core.backend_types import Converter
from edgeprune.core.documents import read_json
from edgeprune.core.errors import (
    CompileError,
    ConfigError,
    OutputError,
    RuntimeMissingError,
    did_you_mean,
    how_it_ended,
)
from edgeprune.core.files import read_bytes, write_text_atomically
from edgeprune.core.locks import exclusive
from edgeprune.core.resources import cache_dir
from edgeprune.core.scratch import goes_with_this_run
from edgeprune.runners.local import kill_group, last_line

MARKER = "complete.json"
GET = "edgeprune runtimes install {}"
SCRIPTS = Path(__file__).resolve().parent / "scripts"
INSTALL_TIMEOUT_S = 3600.0
CONVERT_TIMEOUT_S = 1800.0

Say = Callable[[str], None]
"""Called with a few words about what is being done."""


def converters() -> dict[str, Converter]:
    """Return the converters that need an environment, by the runtime that they convert for."""
    return {backend.name: backend.CONVERTER for backend in all_backends() if backend.CONVERTER}


def converter(name: str) -> Converter:
    """Return the converter of a runtime.

    Raises:
        ConfigError: there is none.
    """
    found = converters()
    if name not in found:
        if name in known_backends():
            raise ConfigError(
                f"{name} needs no environment of its own; `edgeprune doctor` says how to get it"
            )
        raise ConfigError(
            f"unknown runtime {name!r}{did_you_mean(name, found)}; there are {', '.join(found)}"
        )
    return found[name]


def pins_of(name: str) -> tuple[str, ...]:
    """Return what a runtime's converter is pinned to: nothing for one that needs no environment."""
    found = get_backend(name).CONVERTER
    return found.pins if found else ()


def folder_of(name: str) -> Path:
    """Return where the environment lies, or would lie: it depends on its pins and on this interpreter."""
    made_of = {"pins": converter(name).pins, "python": sys.version_info[:3], "machine": platform.machine()}
    return cache_dir() / "runtimes" / f"{name}-{content_key(made_of)}"


def is_installed(name: str) -> bool:
    """Tell whether the environment is there, whole, and its interpreter still exists."""
    return (folder_of(name) / MARKER).is_file() and _python(folder_of(name)).exists()


def python_of(name: str) -> Path:
    """Return the interpreter of an environment.

    Raises:
        RuntimeMissingError: it is not installed; the message holds the command.
    """
    if not is_installed(name):
        raise RuntimeMissingError(f"{name}: its converter is not installed here: {GET.format(name)}")
    return _python(folder_of(name))


def size_bytes(name: str) -> int | None:
    """Return the bytes that the environment's files take, None when it is not installed."""
    if not is_installed(name):
        return None
    size = read_json(folder_of(name) / MARKER, OutputError).get("bytes")
    return size if isinstance(size, int) else None


def install(name: str, say: Say) -> Path:
    """Make the environment and install its pins by pip, which reads the user's own pip settings.

    It is there once its converter has proven that nothing is missing: what the pins ask for is not pinned.

    Returns:
        Its folder. One that is there already is left as it is; those of other pins are removed after.

    Raises:
        CompileError: Python's venv module, pip or the converter failed; the log stays and is named.
        OutputError: the cache cannot be written, or another process is installing it.
        ConfigError: there is no cache folder that stays.
    """
    place = folder_of(name)
    if goes_with_this_run(place):
        raise ConfigError("no home folder is known here, so nothing stays: set HOME, or EDGEPRUNE_CACHE")
    with locked(place.parent, name):
        if is_installed(name):
            return place
        log = place.parent / f"{name}-install.log"
        try:
            _make(place, converter(name), log, say)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        log.unlink()
        for other in _folders(name):
            if other != place:
                shutil.rmtree(other, ignore_errors=True)
    return place


def remove(name: str) -> bool:
    """Remove the environment, and what is left of others of that name; return whether there was any.

    Raises:
        OutputError: another process is installing it.
    """
    converter(name)
    root = cache_dir() / "runtimes"
    if not root.is_dir():
        return False
    with locked(root, name):
        found = _folders(name)
        for place in found:
            (place / MARKER).unlink(missing_ok=True)  # half removed is not installed
            shutil.rmtree(place)
    return bool(found)


def convert_program(name: str, program: Artifact, engine: Path, more: Sequence[str] = ()) -> None:
    """Write `engine` from an exported program, with the converter of a runtime in its environment.

    Args:
        name: of the runtime, whose `CONVERTER` names the script.
        more: further arguments of the script.

    Raises:
        CompileError: the converter failed; its log lies beside the folder of `engine`.
        RuntimeMissingError: the environment is not installed.
    """
    args = [str(program.path / "model.pt2"), str(engine), *more]
    run_converter(name, converter(name).script, args, engine.parent.parent / f"{name}-convert.log")


def run_converter(
    name: str, script: str, args: Sequence[str], log: Path, timeout: float = CONVERT_TIMEOUT_S
) -> None:
    """Run a script of `converters/scripts/` in an environment; everything it prints goes to `log`.

    Args:
        script: a name in `converters/scripts/`, or a path.
        timeout: seconds after which it and all its children are killed.

    Raises:
        CompileError: it crashed, exited other than 0 or timed out; the message ends with its last line
            and names the log, which stays.
        RuntimeMissingError: the environment is not installed.
    """
    python_of(name)
    _run_script(folder_of(name), script, args, log, timeout)


def _run_script(place: Path, script: str, args: Sequence[str], log: Path, timeout: float) -> None:
    # -I: neither our packages (PYTHONPATH) nor the user's get in the way of the pins.
    run_logged([str(_python(place)), "-I", str(SCRIPTS / script), *args], Path(script).name, log, timeout)


def _make(place: Path, made_of: Converter, log: Path, say: Say) -> None:
    shutil.rmtree(place, ignore_errors=True)  # what an interrupted installation left
    log.unlink(missing_ok=True)
    say(f"virtual environment at {place}")
    run_logged([sys.executable, "-I", "-m", "venv", str(place)], "venv", log, INSTALL_TIMEOUT_S)
    say(", ".join(made_of.pins))
    pip = [str(_python(place)), "-I", "-m", "pip", "install", "--no-input"]
    whole = [pin for pin in made_of.pins if pin not in made_of.lone]
    for asked in (whole, ["--no-deps", *made_of.lone] if made_of.lone else []):
        if asked:
            run_logged([*pip, *asked], "pip install", log, INSTALL_TIMEOUT_S)
    say(f"{made_of.script} {' '.join(made_of.proof)}")
    _run_script(place, made_of.script, made_of.proof, log, CONVERT_TIMEOUT_S)
    total = sum(file.lstat().st_size for file in place.rglob("*"))
    write_text_atomically(place / MARKER, json.dumps({"pins": made_of.pins, "bytes": total}) + "\n")


def run_logged(args: Sequence[str], what: str, log: Path, timeout: float) -> None:
    """Run a process, appending what it prints to a log.

    Args:
        what: of it, for the errors.

    Raises:
        CompileError: it failed, crashed, or did not end in time.
    """
    with log.open("a", errors="replace") as stream:
        _wait(args, what, stream, log, timeout)


def _wait(args: Sequence[str], what: str, stream: IO[str], log: Path, timeout: float) -> None:
    process = subprocess.Popen(
        list(args),
        stdin=subprocess.DEVNULL,
        stdout=stream,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a group of its own, so that what it starts ends with it
    )
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise CompileError(f"{what}: no end within {timeout:g} s, it was stopped; its log: {log}") from None
    finally:
        kill_group(process)
        process.wait()
    if code:
        said = last_line(read_bytes(log, OutputError).decode(errors="replace"))
        raise CompileError(f"{what}: {how_it_ended(code)}: {said}; its log: {log}")


def _python(place: Path) -> Path:
    return place / "bin" / "python"


def _folders(name: str) -> list[Path]:
    root = cache_dir() / "runtimes"
    return [place for place in root.glob(f"{name}-*") if place.is_dir()]


def locked(root: Path, name: str) -> contextlib.AbstractContextManager[None]:
    """Hold the lock of an environment, below the folder of all; another process that holds it is an error."""
    busy = f"another process is installing or removing {name}"
    return exclusive(root / f".{name}.lock", "the cache", busy)
