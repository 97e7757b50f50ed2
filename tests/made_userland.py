"""A userland for this machine, small: its loader is a script that starts the Python of the tests."""

from __future__ import annotations

import os
import platform
import sys
import zipfile
from pathlib import Path

import pytest

from edgeprune.core.artifact import digest
from edgeprune.runners.parts import LIBRARY, Part, Piece
from edgeprune.runners.sysroot import ARCHITECTURES, PYTHON, Architecture

LOADER = "ld-test.so.1"
_SCRIPT = f"""#!/bin/sh
unset PYTHONHOME
while :; do case $1 in
--inhibit-cache) shift;; --library-path|--argv0) shift 2;; *) shift; break;;
esac; done
exec "{sys.executable}" "$@"
"""


def know_this_machine(patch: pytest.MonkeyPatch) -> None:
    """Let a userland be brought to this machine's architecture."""
    patch.setitem(ARCHITECTURES, platform.machine(), Architecture("", "", "", "", LOADER))


def make_parts(folder: Path, version: str = "1", size: int = 1 << 20) -> tuple[Part, Part]:
    """Return Debian's part and numpy's.

    Args:
        folder: for their files.
        version: another one gives parts of other names.
        size: of a file in the second one, bytes that no compression makes fewer.
    """
    folder.mkdir(exist_ok=True)
    loader, python = folder / LOADER, folder / f"python{PYTHON}"
    loader.write_text(_SCRIPT)
    python.write_text(version)
    library = _zip(folder / "library.zip", {"module.py": b"about = 'library'"})
    numpy = _zip(folder / "numpy.zip", {"weights": os.urandom(size), "version": version.encode()})
    first = (
        _piece(f"lib/{LOADER}", loader),
        _piece(f"usr/bin/{python.name}", python),
        _piece("usr/lib/library.zip", library, LIBRARY),
    )
    return (
        Part("debian", f"debian-{version}", first, 1000),
        Part("numpy", f"numpy-{version}", (_piece(numpy.name, numpy, "."),), size),
    )


def _piece(path: str, file: Path, unpack: str | None = None) -> Piece:
    return Piece(path, file, digest(file), unpack)


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path
