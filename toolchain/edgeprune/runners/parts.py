"""What a userland is made of, composed here: files that start Python, and zip files that it unpacks itself.

The same Debian and the same wheels as of an emulated device (`sysroot.py`): Debian's packages are held to
what Debian has signed, wheels to their pinned sha256. Each part is named after the hash of all that is in it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.artifact import content_key, digest
from edgeprune.core.errors import DeviceError
from edgeprune.runners.debian import Say
from edgeprune.runners.sysroot import ARCHITECTURES, MARKER, PYTHON, site, system, wheels_for

SYSTEM = "debian"
LIBRARY = f"usr/lib/python{PYTHON}"
SITE = f"usr/lib/python{PYTHON[0]}/dist-packages"  # where Debian's Python looks for packages
# What Python needs to start; the other libraries come in a zip file.
_FIRST = ("libc.so.6", "libm.so.6", "libz.so.1", "libexpat.so.1")
_LEVEL = 3  # of zlib: what its usual 6 saves in sending, it takes in packing
_LEFT_OUT = {"ensurepip", "idlelib", "lib2to3", "pydoc_data", "test"}


@dataclass(frozen=True)
class Piece:
    """One file that is sent.

    Attributes:
        path: its place in the part.
        unpack: the folder of the part that it is unpacked into, and removed after; None: it stays as it is.
    """

    path: str
    file: Path
    sha256: str
    unpack: str | None = None

    @property
    def size(self) -> int:
        """Bytes that are sent."""
        return self.file.stat().st_size


@dataclass(frozen=True)
class Part:
    """Debian's Python, numpy, or a runtime.

    Attributes:
        folder: its name on the device: another content, another name.
        size: bytes of its files when they are unpacked.
    """

    name: str
    folder: str
    pieces: tuple[Piece, ...]
    size: int

    @property
    def sent(self) -> int:
        """Bytes that are sent."""
        return sum(piece.size for piece in self.pieces)


def compose(name: str, machine: str, backends: Iterable[str], folder: Path, say: Say) -> tuple[Part, ...]:
    """Return the parts of a userland: Debian's Python first, then numpy and the runtimes.

    Args:
        name: what messages call the device.
        machine: its architecture, one of `ARCHITECTURES`.
        folder: where the zip files are made.

    Raises:
        DeviceError: a runtime has no wheel there, or what is lacking in the cache cannot be fetched or is not
            what is pinned.
        OutputError: the cache cannot be written.
    """
    wheels = wheels_for(machine)
    names = tuple(dict.fromkeys(("numpy", *backends)))
    if lacking := [one for one in names if one not in wheels]:
        known = ", ".join(one for one in wheels if one != "numpy")
        raise DeviceError(
            f"{name}: {lacking[0]} has no wheel for {machine} that is known to work: there are {known}"
        )
    try:
        tree, sites = system(machine, say), {one: site(machine, one, say) for one in names}
    except DeviceError as exc:
        raise DeviceError(f"{name}: {exc}") from exc
    return (_system(machine, tree, folder), *(_site(one, place, folder) for one, place in sites.items()))


def _system(machine: str, tree: Path, folder: Path) -> Part:
    loader = ARCHITECTURES[machine].loader
    libraries = _libraries(tree)
    first = {name: libraries.pop(name) for name in (loader, *_FIRST)}
    library = _files(tree / LIBRARY)
    python = tree / "usr" / "bin" / f"python{PYTHON}"
    pieces = [Piece(f"lib/{name}", file, digest(file)) for name, file in first.items()]
    pieces += [Piece(f"usr/bin/{python.name}", python, digest(python))]
    # Python finds a zip file of this name by itself, and so can unpack its own library.
    own_zip = _zip(library, folder / f"python{PYTHON.replace('.', '')}.zip")
    pieces += [Piece(f"usr/lib/{own_zip.name}", own_zip, digest(own_zip), LIBRARY)]
    others = _zip(libraries, folder / "libraries.zip")
    pieces += [Piece(others.name, others, digest(others), "lib")]
    files = {**first, **libraries, **{f"{LIBRARY}/{name}": file for name, file in library.items()}}
    return _part(SYSTEM, {**files, python.name: python}, pieces)


def _site(name: str, tree: Path, folder: Path) -> Part:
    files = _files(tree)
    packed = _zip(files, folder / f"{name}.zip")
    return _part(name, files, [Piece(packed.name, packed, digest(packed), ".")])


def _part(name: str, files: Mapping[str, Path], pieces: Iterable[Piece]) -> Part:
    key = content_key({path: digest(file) for path, file in files.items()})
    return Part(name, f"{name}-{key}", tuple(pieces), sum(file.stat().st_size for file in files.values()))


def _libraries(tree: Path) -> dict[str, Path]:
    """Return Debian's libraries by the names that programs ask for: of a link and its file, the link's."""
    folders = ("lib", "usr/lib")
    files = [file for folder in folders for file in sorted(tree.glob(f"{folder}/*-linux-gnu/*.so*"))]
    found = [file for file in files if _is_of(tree, file)]
    aims = {file.resolve() for file in found if file.is_symlink()}
    return {file.name: file for file in found if file.is_symlink() or file not in aims}


def _files(tree: Path) -> dict[str, Path]:
    """Return the files of a folder by their places in it; a link counts as what it leads to."""
    found = {}
    for file in sorted(tree.rglob("*")):
        place = file.relative_to(tree)
        if _is_of(tree, file) and file.name != MARKER and place.parts[0] not in _LEFT_OUT:
            found[place.as_posix()] = file
    return found


def _is_of(tree: Path, file: Path) -> bool:
    """Tell whether it is a file of a folder: a link to `/etc`, which Debian has, leads to this machine's."""
    return file.is_file() and file.resolve().is_relative_to(tree.resolve())


def _zip(files: Mapping[str, Path], path: Path) -> Path:
    """Write a zip file; the same files always give the same bytes, so that a push can go on."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, file in sorted(files.items()):
            member = zipfile.ZipInfo(name)  # dated 1980
            archive.writestr(member, file.read_bytes(), zipfile.ZIP_DEFLATED, _LEVEL)
    return path
