"""The parts of an emulated device in the cache: whole or not at all."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from edgeprune.core.errors import DeviceError
from edgeprune.core.locks import exclusive
from edgeprune.runners import debian, sysroot
from edgeprune.runners.debian import Package
from edgeprune.runners.sysroot import ARCHITECTURES, MARKER, contents, parts, site, system, wheels_for
from made_wheels import write_other_numpy


def quiet(share: float, text: str) -> None:
    return None


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the parts, in a cache of its own."""
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path))
    return tmp_path / "emulated" / "aarch64"


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Stand in for the network; return the folders that were filled."""
    folders: list[Path] = []

    def unpack(names: Any, architecture: str, folder: Path, debs: Path, say: Any) -> list[Package]:
        debs.mkdir(parents=True)
        (folder / "usr").mkdir()
        folders.append(folder)
        return [Package(name, "1", "", "") for name in names]

    monkeypatch.setattr(sysroot, "unpack_packages", unpack)
    return folders


def test_a_part_is_made_once_and_tells_what_is_in_it(home: Path, fetched: list[Path]) -> None:
    place = system("aarch64", quiet)
    assert system("aarch64", quiet) == place and len(fetched) == 1
    assert (place / "usr").is_dir() and contents(place)["packages"]["libc6"] == "1"
    assert place.parent == home and not list(home.glob(".partial-*")) and not (home / "debs").exists()
    (home / "debs").mkdir()  # a version with other pins is at it
    assert system("aarch64", quiet) == place and (home / "debs").exists()


@pytest.mark.parametrize("marker", [None, "", '{"packages"'])
def test_a_part_without_its_marker_is_not_there(home: Path, fetched: list[Path], marker: str | None) -> None:
    place = system("aarch64", quiet)
    (place / MARKER).unlink() if marker is None else (place / MARKER).write_text(marker)
    assert not parts("aarch64")
    (place / "usr" / "half").write_text("")
    assert system("aarch64", quiet) == place and len(fetched) == 2
    assert not (place / "usr" / "half").exists()


def test_a_part_of_other_pins_is_removed_when_nothing_has_used_it_for_a_week(
    home: Path, fetched: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = system("aarch64", quiet)
    os.utime(before / MARKER, (0, 0))
    assert system("aarch64", quiet) == before  # so it is used, by a process of another version say
    monkeypatch.setattr(sysroot, "PACKAGES", ("libc6",))
    after = system("aarch64", quiet)
    assert after != before and before.exists() and len(fetched) == 2
    for place, used in ((after, 1), (before, 2)):
        os.utime(place / MARKER, (used, used))
    assert parts("aarch64")["debian"] == contents(before)
    os.utime(after / MARKER)
    assert parts("aarch64")["debian"] == contents(after)
    monkeypatch.setattr(sysroot, "PACKAGES", ("zlib1g",))
    system("aarch64", quiet)
    assert not before.exists() and after.exists()


def test_what_a_killed_process_left_is_swept(home: Path, fetched: list[Path]) -> None:
    left = home / ".partial-debian-abc"
    left.mkdir(parents=True)
    assert system("aarch64", quiet).is_dir() and not left.exists()


def test_a_failure_leaves_no_part(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "MIRROR", "http://127.0.0.1:1/debian")
    monkeypatch.setattr(debian, "require_tools", lambda: None)
    with pytest.raises(DeviceError, match="cannot be fetched"):
        system("aarch64", quiet)
    assert not list(home.glob("debian-*")) and not list(home.glob(".partial-*"))


def test_a_part_that_another_process_makes_is_waited_for_and_taken(home: Path, fetched: list[Path]) -> None:
    place = system("aarch64", quiet)
    place.rename(home / "aside")
    said: list[str] = []
    with ExitStack() as other:
        other.enter_context(exclusive(home / ".debian.lock", "the cache", "busy"))

        def finish(share: float, text: str) -> None:
            said.append(text)
            (home / "aside").rename(place)
            other.close()

        assert system("aarch64", finish) == place and len(fetched) == 1
    assert said == ["another process is preparing debian for aarch64: waiting for it"]


def test_without_pip_the_command_that_gets_it_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysroot, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=r"there is no pip in this Python: .* -m ensurepip$"):
        site("aarch64", "numpy", quiet)


def test_wheels_that_pip_cannot_get_are_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(sysroot, "NUMPY", {"aarch64": {"edgeprune-no-such-wheel==1": "0" * 64}})
    with pytest.raises(DeviceError, match=r"wheels for aarch64: .*No matching distribution") as caught:
        site("aarch64", "numpy", quiet)
    assert "\n" not in str(caught.value)
    assert not list(home.glob("numpy-*"))


def test_a_wheel_that_is_not_the_pinned_one_is_refused(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(write_other_numpy(tmp_path)))
    with pytest.raises(DeviceError, match="wheels for aarch64: what arrived is not the file that is"):
        site("aarch64", "numpy", quiet)
    assert not list(home.glob("numpy-*"))


def test_every_wheel_is_pinned_by_its_content() -> None:
    for machine in ARCHITECTURES:
        wheels = wheels_for(machine)
        assert {"numpy", "onnxruntime", "openvino", "ncnn"} <= wheels.keys()
        pins = [pin for pinned in wheels.values() for pin in pinned.items()]
        assert all("==" in wheel and re.fullmatch("[0-9a-f]{64}", sha256) for wheel, sha256 in pins)
