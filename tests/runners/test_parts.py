"""What a userland is made of: small trees in place of Debian's and of the wheels."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeprune.core.errors import DeviceError
from edgeprune.runners import parts
from edgeprune.runners.parts import Part, compose
from edgeprune.runners.sysroot import MARKER


def write(tree: Path, files: dict[str, str]) -> Path:
    """Write files below a folder."""
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    return tree


@pytest.fixture
def trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of Debian's files, of which only what matters is there, and of a folder a wheel."""
    debian = write(
        tmp_path / "debian",
        {
            "lib/aarch64-linux-gnu/ld-linux-aarch64.so.1": "loader",
            "lib/aarch64-linux-gnu/libc.so.6": "libc",
            "lib/aarch64-linux-gnu/libm.so.6": "libm",
            "lib/aarch64-linux-gnu/libz.so.1.2.13": "libz",
            "lib/aarch64-linux-gnu/libexpat.so.1.8.10": "libexpat",
            "usr/lib/aarch64-linux-gnu/libstdc++.so.6.0.30": "libstdc++",
            "usr/lib/aarch64-linux-gnu/gconv/BIG5.so": "not needed",
            "usr/bin/python3.11": "python",
            "usr/lib/python3.11/os.py": "os",
            "usr/lib/python3.11/lib-dynload/_ssl.so": "ssl",
            "usr/lib/python3.11/test/support.py": "not needed",
            MARKER: "{}",
        },
    )
    links = {"lib": ("libz.so.1", "libexpat.so.1"), "usr/lib": ("libstdc++.so.6",)}
    for folder, names in links.items():
        for name in names:
            (found,) = (debian / folder).glob(f"aarch64-linux-gnu/{name}.*")
            (found.parent / name).symlink_to(found.name)
    of_this_machine = write(tmp_path / "etc", {"sitecustomize.py": "print('host')"}) / "sitecustomize.py"
    (debian / "usr/lib/python3.11/sitecustomize.py").symlink_to(of_this_machine)
    for name in ("numpy", "onnxruntime"):
        write(tmp_path / name, {f"{name}/__init__.py": name, MARKER: "{}"})
    monkeypatch.setattr(parts, "system", lambda machine, say: debian)
    monkeypatch.setattr(parts, "site", lambda machine, name, say: tmp_path / name)
    return debian


@pytest.fixture
def composed(trees: Path, tmp_path: Path) -> Callable[[], tuple[Part, ...]]:
    """Return a function that composes the parts anew."""

    def make() -> tuple[Part, ...]:
        (out := tmp_path / "out").mkdir(exist_ok=True)
        return compose("adb://x", "aarch64", ["onnxruntime"], out, lambda *_: None)

    return make


def test_libraries_go_by_the_names_that_programs_ask_for(composed: Callable[[], tuple[Part, ...]]) -> None:
    system, numpy, runtime = composed()
    assert [part.name for part in (system, numpy, runtime)] == ["debian", "numpy", "onnxruntime"]
    sent = {piece.path: piece for piece in system.pieces}
    first = ["ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6", "libz.so.1", "libexpat.so.1"]
    packed = ["usr/bin/python3.11", "usr/lib/python311.zip", "libraries.zip"]
    assert [*sent] == [*(f"lib/{name}" for name in first), *packed]
    with zipfile.ZipFile(sent["libraries.zip"].file) as archive:
        assert archive.namelist() == ["libstdc++.so.6"]
    with zipfile.ZipFile(sent["usr/lib/python311.zip"].file) as archive:
        assert archive.namelist() == ["lib-dynload/_ssl.so", "os.py"]
    assert (sent["libraries.zip"].unpack, sent["usr/lib/python311.zip"].unpack) == (
        "lib",
        "usr/lib/python3.11",
    )
    (wheel,) = numpy.pieces
    with zipfile.ZipFile(wheel.file) as archive:
        assert archive.namelist() == ["numpy/__init__.py"] and numpy.size == len("numpy")


def test_a_part_is_named_after_its_content(trees: Path, composed: Callable[[], tuple[Part, ...]]) -> None:
    before = composed()
    assert [part.folder for part in composed()] == [part.folder for part in before]
    hashes = [piece.sha256 for part in before for piece in part.pieces]
    assert hashes == [piece.sha256 for part in composed() for piece in part.pieces]  # so a push goes on
    (trees / "lib/aarch64-linux-gnu/libz.so.1.2.13").write_text("a security update")
    after = composed()
    assert after[0].folder != before[0].folder and after[1:] == before[1:]


def test_a_runtime_without_a_wheel_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DeviceError, match=r"^adb://x: litert has no wheel for aarch64 that is known to work: there"
    ):
        compose("adb://x", "aarch64", ["litert"], tmp_path, lambda *_: None)
