"""What an emulated device runs: Python of Debian, and wheels of PyPI, for another architecture, in the cache.

Each part is made aside under a lock and renamed when it is whole, with a marker in it: what lacks the marker
is not there. A part's folder is named after a hash of what it is made of, so other pins make another one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeprune.core.artifact import content_key
from edgeprune.core.backend import all_backends
from edgeprune.core.documents import read_json
from edgeprune.core.errors import DeviceError, OutputError
from edgeprune.core.files import write_text_atomically
from edgeprune.core.locks import exclusive
from edgeprune.core.resources import cache_dir
from edgeprune.runners.debian import MIRROR, SUITE, Say, unpack_packages
from edgeprune.runners.local import run_process

MARKER = "complete.json"
KEPT_DAYS = 7.0  # a part of other pins that nothing has used for longer is removed
PYTHON = "3.11"  # that of the suite
_GLIBC_MINOR = 36  # of the suite: 2.36
_PIP_TIMEOUT_S = 1800.0
# Python, and the libraries that it and the wheels load.
PACKAGES = (
    "libc6", "libgcc-s1", "libstdc++6", "libgomp1", "zlib1g", "libexpat1", "libffi8", "libbz2-1.0",
    "liblzma5", "libssl3", "libpython3.11-minimal", "python3.11-minimal", "libpython3.11-stdlib",
)  # fmt: skip
# With the sha256 of the file that PyPI has for that architecture and Python; pip takes no other.
NUMPY: dict[str, dict[str, str]] = {
    "aarch64": {"numpy==2.2.6": "b64d8d4d17135e00c8e346e0a738deb17e754230d7e0810ac5012750bbd85a5a"},
}


@dataclass(frozen=True)
class Architecture:
    """An instruction set that can be emulated.

    Attributes:
        debian: what Debian calls it.
        emulator: the program that runs its executables, and `package` the one that has it.
        processor: the one that is emulated, as the emulator names it.
        loader: the name of Debian's loader of its programs.
    """

    debian: str
    emulator: str
    package: str
    processor: str
    loader: str


# The Cortex-A76 is what a Raspberry Pi 5 has: dotprod and fp16, no SVE. With qemu's own default, `max`, that
# has all extensions, OpenVINO's int8 kernels give other numbers.
ARCHITECTURES: dict[str, Architecture] = {
    "aarch64": Architecture(
        "arm64", "qemu-aarch64-static", "qemu-user-static", "cortex-a76", "ld-linux-aarch64.so.1"
    ),
}


def system(machine: str, say: Say) -> Path:
    """Return the folder with Debian's Python for an architecture, made if it is not there.

    Raises:
        DeviceError: its packages cannot be fetched, verified or unpacked.
        OutputError: the cache cannot be written.
    """
    made_of = {"mirror": MIRROR, "suite": SUITE, "packages": PACKAGES}

    def make(folder: Path) -> dict[str, Any]:
        debs = _home(machine) / "debs"
        packages = unpack_packages(PACKAGES, ARCHITECTURES[machine].debian, folder, debs, say)
        shutil.rmtree(debs, ignore_errors=True)
        return {"packages": {package.name: package.version for package in packages}}

    return _made(machine, "debian", made_of, make, say)


def wheels_for(machine: str) -> dict[str, Mapping[str, str]]:
    """Return the wheels of numpy and of each runtime that is known to work there, pinned by their sha256."""
    told = {backend.name: backend.WHEELS.get(machine, {}) for backend in all_backends()}
    return {"numpy": NUMPY[machine], **{name: wheels for name, wheels in told.items() if wheels}}


def site(machine: str, name: str, say: Say) -> Path:
    """Return the folder with the wheels of numpy or of a runtime, made if it is not there.

    Raises:
        DeviceError: there is no pip, or it does not find them for that architecture or cannot fetch them.
        OutputError: the cache cannot be written.
    """
    wheels = wheels_for(machine)[name]
    pinned = [f"{wheel} --hash=sha256:{sha256}" for wheel, sha256 in wheels.items()]

    def make(folder: Path) -> dict[str, Any]:
        if find_spec("pip") is None:
            raise DeviceError(f"there is no pip in this Python: {sys.executable} -m ensurepip")
        say(0.0, f"{', '.join(wheels)} for {machine}")
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:  # only there it reads hashes
            requirements.write("\n".join(pinned))
            requirements.flush()
            _install(machine, folder, requirements.name)
        return {"wheels": [*wheels]}

    return _made(machine, name, {"wheels": pinned, "python": PYTHON, "suite": SUITE}, make, say)


def parts(machine: str) -> dict[str, dict[str, Any]]:
    """Return what the whole parts in the cache were made of, by name: ``debian``, ``numpy`` and runtimes.

    Of parts of several versions it is the one that was used last.
    """
    found = []
    for place in _home(machine).glob("*-*"):
        with contextlib.suppress(OSError, OutputError):  # it has no marker, or not for long
            found.append(((place / MARKER).stat().st_mtime, place.name.rpartition("-")[0], contents(place)))
    return {name: facts for _, name, facts in sorted(found, key=lambda part: part[0])}


def contents(place: Path) -> dict[str, Any]:
    """Return what a part was made of: the versions of its packages or wheels."""
    found = read_json(place / MARKER, OutputError)
    if not isinstance(found, dict):
        raise OutputError(f"{place / MARKER}: a mapping of versions is expected")
    return found


def _install(machine: str, folder: Path, requirements: str) -> None:
    try:
        run_process(f"wheels for {machine}", _pip(machine, folder, requirements), _PIP_TIMEOUT_S)
    except DeviceError as exc:
        if re.search(r"Got +[0-9a-f]{64}$", str(exc)):  # the end of what pip says of a hash
            raise DeviceError(
                f"wheels for {machine}: what arrived is not the file that is pinned (its sha256 differs)"
            ) from exc
        raise


def _pip(machine: str, folder: Path, requirements: str) -> tuple[str, ...]:
    """Return the command that installs wheels for another machine; nothing of them is run here."""
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(17, _GLIBC_MINOR + 1)]
    tags += [f"manylinux2014_{machine}"]
    abis = (f"cp{PYTHON.replace('.', '')}", "abi3", "none")
    return (
        *(sys.executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--quiet"),
        *("--only-binary=:all:", "--no-deps", "--no-compile", "--implementation", "cp"),
        *("--python-version", PYTHON, "--target", str(folder)),
        *(word for abi in abis for word in ("--abi", abi)),
        *(word for tag in tags for word in ("--platform", tag)),
        *("--requirement", requirements),
    )


def _made(
    machine: str, name: str, made_of: dict[str, Any], make: Callable[[Path], dict[str, Any]], say: Say
) -> Path:
    """Return the whole part of that name; `make` fills a folder and tells what is in it.

    A process that makes it already is waited for: each takes what the first has made.
    """
    home = _home(machine)
    place = home / f"{name}-{content_key(made_of)}"
    if _is_whole(place):
        with contextlib.suppress(OSError):  # a cache that is only read
            os.utime(place / MARKER)
        return place
    busy = f"another process is preparing {name} for {machine}"
    with exclusive(home / f".{name}.lock", "the cache", busy, lambda: say(0.0, f"{busy}: waiting for it")):
        if _is_whole(place):
            return place
        for left in home.glob(f".partial-{name}-*"):
            shutil.rmtree(left, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=f".partial-{name}-", dir=home))
        try:
            facts = make(partial)
            os.sync()  # a marker that outlives a power cut must not be there without its files
            write_text_atomically(partial / MARKER, json.dumps(facts) + "\n")
            _sweep(home, name)
            partial.chmod(0o755)  # mkdtemp makes it private to the user
            partial.rename(place)
        except OSError as exc:
            raise DeviceError(f"{place}: cannot be written: {exc.strerror}") from exc
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return place


def _sweep(home: Path, name: str) -> None:
    """Remove the parts of other pins that nothing has used for a week, and what is not whole.

    A process of another version may be running what it has used just now.
    """
    for old in home.glob(f"{name}-*"):
        if not _is_whole(old) or time.time() - (old / MARKER).stat().st_mtime > KEPT_DAYS * 86400:
            shutil.rmtree(old, ignore_errors=True)


def _is_whole(place: Path) -> bool:
    try:
        contents(place)
    except OutputError:
        return False
    return True


def _home(machine: str) -> Path:
    return cache_dir() / "emulated" / machine
