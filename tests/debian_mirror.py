"""A mirror of Debian on this disk: small real packages, a real index, signed by a key of its own."""

from __future__ import annotations

import hashlib
import lzma
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

INDEX = "main/binary-arm64/Packages.xz"
ARCHIVE, STRANGER = "archive@example.org", "stranger@example.org"  # who signs; the keyring lacks the second


@dataclass(frozen=True)
class Mirror:
    """Where the mirror lies, and the keyring that its signatures are checked by."""

    folder: Path
    keyring: Path
    home: Path

    @property
    def url(self) -> str:
        return f"file://{self.folder}"

    @property
    def release(self) -> Path:
        return self.folder / "dists/bookworm/InRelease"

    def deb(self, name: str) -> Path:
        return self.folder / f"pool/{name}_1.0_arm64.deb"

    def sign(self, codename: str = "bookworm", by: Sequence[str] = (ARCHIVE,)) -> None:
        """Write the index of all packages, and the suite's file, signed by these keys."""
        stanzas = [_stanza(deb, self.folder) for deb in sorted(self.folder.glob("pool/*.deb"))]
        data = lzma.compress("\n\n".join(stanzas).encode())
        sha256 = hashlib.sha256(data).hexdigest()
        by_hash = self.release.parent / "main/binary-arm64/by-hash/SHA256" / sha256
        by_hash.parent.mkdir(parents=True, exist_ok=True)
        by_hash.write_bytes(data)
        text = f"Origin: Debian\nCodename: {codename}\nMD5Sum:\n {'0' * 32} 1 {INDEX}\nSHA256:\n"
        text += f" {'0' * 64} 1 main/binary-amd64/Packages.xz\n {sha256} {len(data)} {INDEX}\n"
        self.release.unlink(missing_ok=True)
        users = (word for name in by for word in ("--local-user", name))
        gpg(self.home, *users, "--clearsign", "--output", str(self.release), stdin=text)


def make_mirror(folder: Path, home: Path, names: Iterable[str]) -> Mirror:
    """Make a mirror with a package of each name, which holds one file of its own name."""
    for name in (ARCHIVE, STRANGER):
        gpg(home, "--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", "never")
    keyring = home / "keyring.gpg"
    gpg(home, "--output", str(keyring), "--export", ARCHIVE)
    (folder / "pool").mkdir(parents=True)
    mirror = Mirror(folder, keyring, home)
    for name in names:
        tree = home / name
        (tree / "DEBIAN").mkdir(parents=True)
        control = f"Package: {name}\nVersion: 1.0\nArchitecture: arm64\nMaintainer: a\nDescription: a\n"
        (tree / "DEBIAN/control").write_text(control)
        (tree / "usr/share").mkdir(parents=True)
        (tree / "usr/share" / name).write_text(name)
        command = ["dpkg-deb", "--build", "--root-owner-group", str(tree), str(mirror.deb(name))]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    mirror.sign()
    return mirror


def gpg(home: Path, *args: str, stdin: str = "") -> None:
    """Run gpg with keys of its own."""
    command = ["gpg", "--batch", "--quiet", "--homedir", str(home), "--pinentry-mode", "loopback", *args]
    subprocess.run(command, input=stdin, text=True, check=True, capture_output=True, timeout=60)


def _stanza(deb: Path, folder: Path) -> str:
    name, version = deb.name.split("_")[:2]
    sha256 = hashlib.sha256(deb.read_bytes()).hexdigest()
    return (
        f"Package: {name}\nVersion: {version}\nDescription: a\n more: of it\n"
        f"Filename: {deb.relative_to(folder)}\nSHA256: {sha256}"
    )
