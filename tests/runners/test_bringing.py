"""A small userland brought to a device over ssh and adb, and everything removed again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import adbd
from adbd import AdbDevice
from edgeprune.core.errors import DeviceError
from edgeprune.runners.adb import AdbRunner
from edgeprune.runners.bringing import bring, remove
from edgeprune.runners.devices import remote_runner_for
from edgeprune.runners.looking import look
from edgeprune.runners.parts import Part
from edgeprune.runners.userland import FOLDER, MARK, SETUP
from made_userland import know_this_machine, make_parts
from sshd import Device

Place = Device | AdbDevice
Parts = tuple[Part, ...]


def set_up(address: str, parts: Parts) -> list[str]:
    """Bring a userland as `edgeprune device setup` does; return what is said meanwhile."""
    said: list[str] = []
    with remote_runner_for(address).shell() as shell:
        bring(shell, look(shell), parts, said.append)
    return said


def clear(address: str) -> list[str]:
    """Remove all that lies there."""
    with remote_runner_for(address).shell() as shell:
        return remove(shell)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    """Return the parts of a small userland."""
    know_this_machine(monkeypatch)
    return make_parts(tmp_path / "parts")


@pytest.fixture
def poor(phone: AdbDevice) -> AdbDevice:
    """Return a device behind adb without Python."""
    phone.python_is("exit 127")
    return phone


@pytest.fixture
def bare(place: Place) -> Iterator[Place]:
    """Return a device without Python."""
    place.python_is("echo sh: python3: not found >&2; exit 127")
    yield place
    clear(place.address())


def test_it_is_brought_started_and_removed_and_leaves_nothing(bare: Place, parts: Parts) -> None:
    before = {*bare.cache.parent.rglob("*")}
    assert set_up(bare.address(), parts) == ["debian: 0 MB", "numpy: 1 MB"]
    home = bare.cache / FOLDER
    assert (home / parts[0].folder / "usr/lib/python3.11/module.py").is_file()
    assert not list(home.rglob("*.zip")) and not list(home.glob("*.new")) and not list(home.rglob("*.part"))
    with remote_runner_for(bare.address()) as runner:
        assert runner.python() == f"{runner.root}/{FOLDER}/python3"
        told = runner.run((runner.python(), "-c", "import sys; print(sys.version_info[:2])"), 60).stdout
    assert told.strip() == str(sys.version_info[:2])
    assert set_up(bare.address(), parts) == []  # nothing is sent again
    assert {"userland", "files"} <= {*clear(bare.address())}
    assert {*bare.cache.parent.rglob("*")} <= before and clear(bare.address()) == []


def test_another_version_is_refused_by_a_session_and_replaced_by_setup(
    poor: AdbDevice, parts: Parts, tmp_path: Path
) -> None:
    set_up(poor.address(), parts)
    home = poor.cache / FOLDER
    (home / MARK).write_text("0\n")
    says = "the userland there: it is of version 0, this edgeprune has version 1"
    with pytest.raises(DeviceError) as caught, remote_runner_for(poor.address()):
        pass
    assert str(caught.value) == f"{poor.address()}: {says}: {SETUP.format(poor.address())}"
    assert "it is replaced" in set_up(poor.address(), parts)[0]
    newer = make_parts(tmp_path / "newer", "2")
    assert len(set_up(poor.address(), (newer[0], parts[1]))) == 1
    assert {path.name for path in home.iterdir() if path.is_dir()} == {"debian-2", "numpy-1"}


def test_a_runtime_that_was_brought_before_stays(poor: AdbDevice, parts: Parts) -> None:
    runtime = Part("ncnn", "ncnn-1", parts[1].pieces, 1)
    set_up(poor.address(), (*parts, runtime))
    set_up(poor.address(), parts)
    home = poor.cache / FOLDER
    listed = (home / parts[0].folder / "usr/lib/python3/dist-packages/edgeprune.pth").read_text()
    assert [Path(line).name for line in listed.splitlines()] == ["numpy-1", "ncnn-1"]
    assert (home / "ncnn-1").is_dir()


def test_what_does_not_start_there_says_what_to_do(poor: AdbDevice, parts: Parts) -> None:
    set_up(poor.address(), parts)
    (loader,) = (poor.cache / FOLDER).glob("debian-1/lib/*")
    loader.write_text("#!/bin/sh\necho Illegal instruction >&2; exit 132\n")
    with pytest.raises(DeviceError, match="Illegal instruction; the Python that was brought does not import"):
        set_up(poor.address(), parts)


def test_what_is_the_users_stays_when_all_is_removed(poor: AdbDevice, parts: Parts, tmp_path: Path) -> None:
    disk = tmp_path / "my disk"
    own = [disk / name for name in ("files/photo.jpg", "work-list/thesis", "venv/notes")]
    for file in own:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("years of work")
    set_up(poor.address(disk), parts)
    with remote_runner_for(poor.address(disk)):
        pass
    assert clear(poor.address(disk)) == [FOLDER, "files"]
    assert all(file.read_text() == "years of work" for file in own)
    assert {path.name for path in disk.iterdir()} == {"files", "work-list", "venv"}


def test_nothing_is_removed_while_a_measurement_runs_there(phone: AdbDevice, tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = f"""
import pathlib, time
print("here", flush=True)
while not pathlib.Path({str(go)!r}).exists():
    time.sleep(0.01)
"""

    def meanwhile(line: str) -> None:
        with pytest.raises(DeviceError, match=r"a measurement runs there: wait for its end$"):
            clear(phone.address())
        go.touch()

    with AdbRunner(phone.address()) as runner:
        assert runner.run((sys.executable, "-c", code), 60, meanwhile).stdout == "here\n"
    assert clear(phone.address()) == ["files"] and not phone.cache.exists()


# A connection that is lost


def test_it_goes_on_when_the_device_comes_back(poor: AdbDevice, tmp_path: Path, parts: Parts) -> None:
    parts = make_parts(tmp_path / "large", size=8 << 20)
    poor.cut_after(5 << 20)
    set_up(poor.address(), parts)
    assert poor.cuts == 1 and (poor.cache / FOLDER / "numpy-1" / "weights").stat().st_size == 8 << 20


def test_a_setup_that_broke_off_is_no_userland_and_a_later_one_goes_on(
    poor: AdbDevice, tmp_path: Path, parts: Parts
) -> None:
    parts = make_parts(tmp_path / "large", size=8 << 20)
    poor.cut_after(5 << 20, stay_away=True)
    with pytest.raises(DeviceError, match=r"cannot be reached: .*5 more tries failed"):
        set_up(poor.address(), parts)
    adbd.forget(poor)
    poor.arrive()
    with pytest.raises(DeviceError, match="there is no python3 on the device"), AdbRunner(poor.address()):
        pass
    # What had arrived is written there in its own time: to count bytes, it is put there here.
    aside = poor.cache / FOLDER / f"{parts[1].folder}.new"
    whole = parts[1].pieces[0].file.read_bytes()
    (aside / "numpy.zip.part").unlink(missing_ok=True)  # a busy device had not begun
    (aside / "numpy.zip.part").write_bytes(whole[: 6 << 20])
    before = poor.received
    set_up(poor.address(), parts)
    assert 2 << 20 < poor.received - before < 3 << 20


def test_what_an_earlier_setup_left_is_not_trusted(poor: AdbDevice, parts: Parts) -> None:
    aside = poor.cache / FOLDER / f"{parts[1].folder}.new"
    aside.mkdir(parents=True)
    (aside / "numpy.zip.part").write_bytes(b"of another file")
    set_up(poor.address(), parts)
    assert (poor.cache / FOLDER / "numpy-1" / "version").read_text() == "1"


# Refusals


def test_what_arrives_wrong_is_refused_and_removed(poor: AdbDevice, parts: Parts) -> None:
    spoiling = poor.root / "bin" / "cat"
    spoiling.write_text("#!/bin/sh\n/bin/cat \"$@\" | tr '\\001#' '\\002$'\n")
    spoiling.chmod(0o755)
    with pytest.raises(DeviceError, match=r"what arrives there is not what is sent \(sha256 differs\)$"):
        set_up(poor.address(), parts)
    assert not list(poor.cache.rglob("*.part")) and not (poor.cache / FOLDER / MARK).exists()


def test_a_disk_that_fills_up_meanwhile_keeps_no_half_file(adb: None, full: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, adbd.running(tmp_path / "phone", whole=False) as phone:
        know_this_machine(patch)
        phone.python_is("exit 127")
        with pytest.raises(DeviceError, match=r"No space left on device$"):
            set_up(phone.address(full), make_parts(tmp_path / "large", size=4 << 20))
        adbd.forget(phone)
    assert not list(full.rglob("*.part"))
