"""Packages of Debian for another architecture, unpacked into a folder without root's rights.

Nothing is read that Debian has not signed: the suite's `InRelease` names the sha256 of its package index, the
index that of each package (https://wiki.debian.org/DebianRepository/Format). So it does not matter who
answers for the mirror.
"""

from __future__ import annotations

import errno
import lzma
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from edgeprune.core.artifact import digest
from edgeprune.core.errors import DeviceError, shorten
from edgeprune.core.files import read_bytes, read_text
from edgeprune.runners.local import last_line

MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITE = "bookworm"
_TIMEOUT_S = 120.0
_TOOLS = {"gpgv": "gpgv", "dpkg-deb": "dpkg"}

Say = Callable[[float, str], None]
"""Called with the share that is done and a few words about what comes next."""


@dataclass(frozen=True)
class Package:
    """One package of an index: where its file lies on the mirror, and what it has to be."""

    name: str
    version: str
    file: str
    sha256: str


def unpack_packages(
    names: Iterable[str], architecture: str, folder: Path, debs: Path, say: Say
) -> list[Package]:
    """Fetch, verify and unpack packages.

    Args:
        names: each package wanted; what it depends on is not looked up.
        architecture: Debian's name of it, such as ``arm64``.
        folder: where they are unpacked.
        debs: keeps the files that have arrived whole, so that an interrupted call goes on.

    Raises:
        DeviceError: no network, a file that is not what Debian has signed, or a tool that is not installed.
        OSError: the disk is full.
    """
    require_tools()
    debs.mkdir(parents=True, exist_ok=True)
    say(0.0, f"package index of Debian {SUITE}")
    packages = index_of(architecture, debs)
    wanted = [_named(name, packages, architecture) for name in names]
    for done, package in enumerate(wanted):
        say(done / len(wanted), f"{package.name} {package.version}")
        deb = debs / f"{package.sha256}.deb"
        fetch(f"{MIRROR}/{package.file}", deb, package.sha256)
        _unpack(deb, package, folder)
    return wanted


def require_tools() -> None:
    """Check for the programs and the keys that verify and unpack.

    Raises:
        DeviceError: one is not here; the message says how to get it.
    """
    lacking = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
    if not KEYRING.is_file():
        lacking.append("debian-archive-keyring")
    if lacking:
        raise DeviceError(
            f"Debian's packages cannot be verified and unpacked here: apt-get install {' '.join(lacking)}"
        )


def index_of(architecture: str, folder: Path) -> dict[str, Package]:
    """Return the packages of the suite's main component by name; the index is kept in `folder`.

    Raises:
        DeviceError: no network, or an index that Debian has not signed.
    """
    inrelease = folder / "InRelease"
    fetch(f"{MIRROR}/dists/{SUITE}/InRelease", inrelease, None)
    listed = f"main/binary-{architecture}/Packages.xz"
    sha256 = sha256_listed(signed_text(inrelease), listed)
    index = folder / f"{sha256}.xz"
    # By its hash: the plain name may already be that of the next point release.
    fetch(f"{MIRROR}/dists/{SUITE}/{listed.rpartition('/')[0]}/by-hash/SHA256/{sha256}", index, sha256)
    content = read_bytes(index, DeviceError)
    return parse_packages(lzma.decompress(content).decode())


def signed_text(inrelease: Path) -> str:
    """Return the part of an InRelease file that Debian has signed.

    One good signature is enough, as for apt: a suite is signed by the keys of several releases, of which an
    older keyring does not hold all.

    Raises:
        DeviceError: none is good, one is bad, or it is of another suite.
    """
    text = inrelease.with_name("Release")
    text.unlink(missing_ok=True)
    command = ["gpgv", "--status-fd", "1", "--keyring", str(KEYRING), "--output", str(text), str(inrelease)]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    said = [line.split()[1] for line in ended.stdout.splitlines() if line.startswith("[GNUPG:] ")]
    if "GOODSIG" not in said or "BADSIG" in said or not text.is_file():
        why = last_line(ended.stderr).removeprefix("gpgv: ")
        raise DeviceError(f"{MIRROR}: {SUITE}/InRelease has no good signature of Debian's ({why})")
    signed = read_text(text, DeviceError)
    if f"Codename: {SUITE}" not in signed.splitlines():
        raise DeviceError(f"{MIRROR}: {SUITE}/InRelease is signed by Debian, but for another suite")
    return signed


def sha256_listed(release: str, name: str) -> str:
    """Return the sha256 that a Release file gives for an index, such as ``main/binary-arm64/Packages.xz``.

    Raises:
        DeviceError: it lists no such index.
    """
    section = ""
    for line in release.splitlines():
        if not line.startswith(" "):
            section = line.partition(":")[0]
        elif section == "SHA256" and line.split()[2:] == [name]:
            return line.split()[0]
    raise DeviceError(f"{MIRROR}: {SUITE} has no {name}")


def parse_packages(index: str) -> dict[str, Package]:
    """Read an index of packages (``Packages``), by name; of a name that comes twice, the last counts."""
    found = {}
    for stanza in index.split("\n\n"):
        lines = (line.partition(": ") for line in stanza.splitlines() if not line.startswith(" "))
        fields = {key: value for key, _, value in lines}
        if {"Package", "Version", "Filename", "SHA256"} <= fields.keys():
            name = fields["Package"]
            found[name] = Package(name, fields["Version"], fields["Filename"], fields["SHA256"])
    return found


def fetch(url: str, place: Path, sha256: str | None) -> None:
    """Download a file; it appears in its place only when it is whole and what it has to be.

    Args:
        sha256: of the content. A file that has it already is not fetched; None fetches anew, unverified.

    Raises:
        DeviceError: it cannot be fetched, or is not what was promised.
        OSError: the disk is full.
    """
    if sha256 is not None and place.is_file() and digest(place) == sha256:
        return
    aside = place.with_name(f".{place.name}.part")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, aside.open("wb") as stream:  # noqa: S310
            shutil.copyfileobj(answer, stream)
        if sha256 is not None and digest(aside) != sha256:
            raise DeviceError(f"{url}: what arrived is not what Debian has signed (its sha256 differs)")
        aside.replace(place)
    except (OSError, HTTPException) as exc:
        if getattr(exc, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise  # it is not the network's
        reason = getattr(exc, "reason", None) or getattr(exc, "strerror", None) or exc
        raise DeviceError(f"{url}: cannot be fetched: {' '.join(str(reason).split())}") from exc
    finally:
        aside.unlink(missing_ok=True)


def _named(name: str, packages: dict[str, Package], architecture: str) -> Package:
    if name not in packages:
        raise DeviceError(f"{MIRROR}: {SUITE} has no package {name} for {architecture}")
    return packages[name]


def _unpack(deb: Path, package: Package, folder: Path) -> None:
    command = ["dpkg-deb", "--extract", str(deb), str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if ended.returncode:
        # The reason comes first, from tar; that tar has failed comes last.
        why = shorten(ended.stderr)
        raise DeviceError(f"{package.name}: dpkg-deb cannot unpack it into {folder}: {why}")
