"""Debian's packages: only what is signed is unpacked, and an interrupted fetch goes on."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from debian_mirror import ARCHIVE, INDEX, STRANGER, Mirror, make_mirror
from edgeprune.core.errors import DeviceError
from edgeprune.runners import debian
from edgeprune.runners.debian import Package, fetch, parse_packages, sha256_listed, unpack_packages

NAMES = ("libfirst", "libsecond")
MISSING = [tool for tool in ("gpg", "gpgv", "dpkg-deb") if shutil.which(tool) is None]
needs_tools = pytest.mark.skipif(bool(MISSING), reason=f"there is no {' and no '.join(MISSING)} here")


@pytest.fixture(scope="module")
def original() -> Iterator[Mirror]:
    """Return a mirror that is as it should be; the socket of gpg's agent needs a short path."""
    with tempfile.TemporaryDirectory(prefix="ep-", dir="/tmp") as home:
        Path(home, "keys").mkdir(mode=0o700)
        try:
            yield make_mirror(Path(home, "debian"), Path(home, "keys"), NAMES)
        finally:
            subprocess.run(["gpgconf", "--homedir", f"{home}/keys", "--kill", "all"], check=False, timeout=30)


@pytest.fixture
def mirror(original: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """Return a copy of the mirror that a test may spoil, and let it be the one that is asked."""
    shutil.copytree(original.folder, tmp_path / "debian")
    monkeypatch.setattr(debian, "MIRROR", f"file://{tmp_path}/debian")
    monkeypatch.setattr(debian, "KEYRING", original.keyring)
    return Mirror(tmp_path / "debian", original.keyring, original.home)


def unpack(tmp_path: Path, *names: str) -> list[Package]:
    folder = tmp_path / "root"
    folder.mkdir(exist_ok=True)
    return unpack_packages(names, "arm64", folder, tmp_path / "debs", lambda share, text: None)


@needs_tools
def test_signed_packages_are_unpacked_and_told_by_version(mirror: Mirror, tmp_path: Path) -> None:
    packages = unpack(tmp_path, *NAMES)
    assert [(package.name, package.version) for package in packages] == [(name, "1.0") for name in NAMES]
    assert [(tmp_path / "root/usr/share" / name).read_text() for name in NAMES] == list(NAMES)


@needs_tools
def test_what_has_arrived_is_not_fetched_again(mirror: Mirror, tmp_path: Path) -> None:
    first, second = (mirror.deb(name) for name in NAMES)
    aside = second.rename(tmp_path / "second")
    with pytest.raises(DeviceError, match=r"libsecond_1\.0_arm64\.deb: cannot be fetched: .*No such file"):
        unpack(tmp_path, *NAMES)
    aside.rename(second)
    first.unlink()
    assert len(unpack(tmp_path, *NAMES)) == 2


@needs_tools
@pytest.mark.parametrize("longer", [True, False])
def test_a_package_that_is_not_the_signed_one_is_refused(
    mirror: Mirror, tmp_path: Path, longer: bool
) -> None:
    deb = mirror.deb("libfirst")
    content = deb.read_bytes()
    deb.write_bytes(content + b"\n" if longer else content[:-1])
    with pytest.raises(DeviceError, match=r"libfirst.*not what Debian has signed") as caught:
        unpack(tmp_path, *NAMES)
    assert caught.value.exit_code == 4 and "\n" not in str(caught.value)
    assert not list((tmp_path / "root").iterdir())
    assert not list((tmp_path / "debs").glob("*.deb")) and not list((tmp_path / "debs").glob(".*.part"))


@needs_tools
def test_a_package_spoiled_in_the_cache_is_fetched_anew(mirror: Mirror, tmp_path: Path) -> None:
    (package,) = unpack(tmp_path, "libfirst")
    (tmp_path / "debs" / f"{package.sha256}.deb").write_bytes(b"spoiled")
    assert unpack(tmp_path, "libfirst") == [package]


@needs_tools
def test_an_index_that_is_not_the_signed_one_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    (index,) = mirror.release.parent.glob("main/binary-arm64/by-hash/SHA256/*")
    index.write_bytes(index.read_bytes() + b" ")
    with pytest.raises(DeviceError, match="not what Debian has signed"):
        unpack(tmp_path, *NAMES)


@needs_tools
@pytest.mark.parametrize("how", ["changed", "unsigned", "foreign", "one more before", "other suite"])
def test_a_release_that_debian_has_not_signed_is_refused(mirror: Mirror, tmp_path: Path, how: str) -> None:
    text = mirror.release.read_text()
    if how == "changed":
        mirror.release.write_text(text.replace("0" * 64, "1" * 64))
    elif how == "unsigned":
        body = text.partition("\n\n")[2].partition("-----BEGIN PGP SIGNATURE")[0]
        mirror.release.write_text(body)
    elif how == "foreign":
        mirror.sign(by=[STRANGER])
    elif how == "one more before":
        mirror.deb("libfirst").write_bytes(b"hostile")
        mirror.sign(by=[STRANGER])
        mirror.release.write_text(mirror.release.read_text() + text)
    else:
        mirror.sign("trixie")
    with pytest.raises(DeviceError) as caught:
        unpack(tmp_path, *NAMES)
    assert ("for another suite" if how == "other suite" else "no good signature") in str(caught.value)
    assert caught.value.exit_code == 4 and "\n" not in str(caught.value)
    assert not list((tmp_path / "root").iterdir())


@needs_tools
def test_one_good_signature_is_enough_and_only_what_it_covers_is_read(mirror: Mirror, tmp_path: Path) -> None:
    mirror.sign(by=[STRANGER, ARCHIVE])
    hostile = f"SHA256:\n {'0' * 64} 1 {INDEX}\n"
    mirror.release.write_text(f"{hostile}\n{mirror.release.read_text()}\n{hostile}")
    assert len(unpack(tmp_path, *NAMES)) == 2


@needs_tools
def test_a_full_disk_is_named_and_not_the_network(tmp_path: Path, full: Path) -> None:
    tree, deb = tmp_path / "big", tmp_path / "big.deb"
    (tree / "DEBIAN").mkdir(parents=True)
    control = "Package: big\nVersion: 1\nArchitecture: arm64\nMaintainer: a\nDescription: a\n"
    (tree / "DEBIAN" / "control").write_text(control)
    (tree / "zeros").write_bytes(bytes(4 << 20))
    subprocess.run(["dpkg-deb", "--build", "-Zgzip", tree, deb], check=True, capture_output=True, timeout=60)
    with pytest.raises(OSError, match="No space left on device"):
        fetch((tree / "zeros").as_uri(), full / "zeros", None)
    assert not list(full.iterdir())
    with pytest.raises(DeviceError, match=r"big: dpkg-deb cannot unpack it into .*full: tar: \./zeros: "):
        debian._unpack(deb, Package("big", "1", "", ""), full)


@needs_tools
def test_a_package_that_the_suite_lacks_is_named(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="bookworm has no package libthird for arm64"):
        unpack(tmp_path, "libthird")


@needs_tools
def test_without_a_network_the_address_is_named(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "MIRROR", "http://127.0.0.1:1/debian")
    with pytest.raises(DeviceError, match=r"127\.0\.0\.1:1/.*InRelease: cannot be fetched: .*refused"):
        unpack(tmp_path, *NAMES)


def test_what_is_not_installed_is_told_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "KEYRING", tmp_path / "none.gpg")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="apt-get install gpgv dpkg debian-archive-keyring"):
        unpack(tmp_path, *NAMES)


def test_an_index_is_read_by_its_fields_alone() -> None:
    index = (
        "Package: a\nVersion: 1:2\nDescription: x\n Package: b\nFilename: pool/a.deb\nSHA256: 1\n\n"
        "Package: c\nVersion: 1\n\n\nPackage: a\nVersion: 3\nFilename: pool/a3.deb\nSHA256: 3\n"
    )
    assert parse_packages(index) == {"a": Package("a", "3", "pool/a3.deb", "3")}


def test_a_hash_is_read_from_the_section_of_sha256_alone() -> None:
    text = f"MD5Sum:\n aa 1 {INDEX}\nSHA256:\n bb 1 {INDEX}.diff\n cc 1 {INDEX}\nSHA512:\n dd 1 {INDEX}\n"
    assert sha256_listed(text, INDEX) == "cc"
    with pytest.raises(DeviceError, match="bookworm has no main/binary-riscv64"):
        sha256_listed(text, "main/binary-riscv64/Packages.xz")
