"""Scripts of a device's shell over ssh and adb: what they print, how they fail, and files sent by them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from adbd import AdbDevice
from edgeprune.core.artifact import digest
from edgeprune.core.errors import DeviceError, DroppedError
from edgeprune.runners.devices import remote_runner_for
from edgeprune.runners.shell import Shell
from sshd import Device

Place = Device | AdbDevice


@pytest.fixture
def shell(place: Place, tmp_path: Path) -> Iterator[Shell]:
    """Return the shell of a device, with a folder of the test as its own."""
    with remote_runner_for(place.address(tmp_path / "it's there")).shell() as opened:
        yield opened


def test_a_script_gets_its_input_and_gives_its_output(shell: Shell, tmp_path: Path) -> None:
    said = shell.run("echo \"$R\"; cat; printf 'no end of line'", data=b"input\n")
    assert said == f"{tmp_path}/it's there\ninput\nno end of line"


def test_a_script_that_fails_tells_its_last_line(shell: Shell) -> None:
    with pytest.raises(DeviceError, match=r": the reason$") as caught:
        shell.run("echo early >&2; echo the reason >&2; exit 7")
    assert str(caught.value).startswith(f"{shell.name}: ") and not isinstance(caught.value, DroppedError)
    with pytest.raises(DroppedError, match="cannot be reached: silent for 1 s"):
        shell.run("sleep 60", timeout=1)


def test_a_file_goes_on_from_what_is_there(shell: Shell, tmp_path: Path) -> None:
    file, place = tmp_path / "file", tmp_path / "arrived"
    file.write_bytes(os.urandom(100_000))
    part = place.with_name("arrived.part")
    part.write_bytes(file.read_bytes()[:60_000])
    assert shell.put(file, digest(file), str(place), 60_000)
    assert place.read_bytes() == file.read_bytes() and not part.exists()
    assert not shell.put(file, "0" * 64, str(place), 0) and not part.exists()


def test_a_connection_that_ends_within_a_file_leaves_what_has_arrived(
    phone: AdbDevice, tmp_path: Path
) -> None:
    file, place = tmp_path / "file", tmp_path / "arrived"
    file.write_bytes(os.urandom(4 << 20))
    phone.cut_after(2 << 20)
    with remote_runner_for(phone.address(tmp_path)).shell() as shell, pytest.raises(DroppedError):
        shell.put(file, digest(file), str(place), 0)
    assert phone.cuts == 1 and not place.exists()
