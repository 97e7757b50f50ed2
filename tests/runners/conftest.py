"""A runner on a device behind a real ssh server or adb client, and folders that are not as they should be."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adbd import AdbDevice
from edgeprune.core.errors import DeviceError
from edgeprune.runners.devices import remote_runner_for
from edgeprune.runners.remote import RemoteRunner
from sshd import Device

Refusal = Callable[[str], str]


@pytest.fixture
def runner(place: Device | AdbDevice) -> Iterator[RemoteRunner]:
    """Return a runner that is connected to the device."""
    with remote_runner_for(place.address()) as entered:
        yield entered


@pytest.fixture(scope="session")
def refusal() -> Refusal:
    """Return a function that tells why a device at an address is refused, in one line behind the address."""

    def told(address: str) -> str:
        with pytest.raises(DeviceError) as caught, remote_runner_for(address):
            pass
        message = str(caught.value)
        assert message.startswith(f"{address}: ") and "\n" not in message and caught.value.exit_code == 4
        return message.removeprefix(f"{address}: ")

    return told


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a folder whose name a shell, or a line-based protocol, would take apart."""
    folder = tmp_path / 'it\'s a "dir"\nwith $(touch pwned) `x`; \\ *?é'
    folder.mkdir()
    return folder


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 2 MB."""
    place = tmp_path / "full"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
