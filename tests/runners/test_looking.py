"""What a device's shell tells, and the devices that no userland can be brought to."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from adbd import AdbDevice
from edgeprune.core.errors import ConfigError, DeviceError
from edgeprune.runners.adb import AdbRunner
from edgeprune.runners.bringing import remove
from edgeprune.runners.devices import remote_runner_for
from edgeprune.runners.looking import Seen, look, require_able, require_room
from made_userland import make_parts
from sshd import Device

Place = Device | AdbDevice
ROOT = "/data/local/tmp/edgeprune"


def seen(**changes: object) -> Seen:
    """Return a device that could take a userland."""
    told = {"root": ROOT, "machine": "aarch64", "shell": "/system/bin/sh", "free": 1 << 40}
    return Seen(**(told | {"python": (), "version": "", "parts": (), "hashes": True} | changes))  # type: ignore[arg-type]


def test_a_device_without_room_is_told_both_sizes(tmp_path: Path) -> None:
    parts = make_parts(tmp_path / "parts")
    with pytest.raises(
        DeviceError, match=f"^adb://x: {ROOT}: 36 MB are needed and 20 MB are free: make room"
    ):
        require_room("adb://x", seen(free=20_000_000), parts)
    require_room("adb://x", seen(free=None), parts)
    require_room("adb://x", seen(free=0), ())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"machine": "x86_64"}, "it has no python3, and edgeprune brings one to aarch64 only, not to x86_64"),
        (
            {"machine": "armv7l", "python": (3, 8)},
            "its python3 is 3.8, and .* not to armv7l: install Python 3.10",
        ),
        ({"taken": "/disk/userland"}, "/disk/userland: it is not edgeprune's: name another folder"),
        ({"hashes": False}, "it has no sha256sum, which checks what arrives: a newer Android has it"),
    ],
)
def test_a_device_that_cannot_take_it_says_why(changes: dict[str, object], says: str) -> None:
    with pytest.raises(DeviceError, match=f"^adb://x: {says}"):
        require_able("adb://x", seen(**changes))


def test_a_folder_that_a_script_would_take_apart_is_refused() -> None:
    with pytest.raises(ConfigError, match="name a folder of plain characters in the address"):
        require_able("adb://x", seen(root="/a$b"))


@pytest.mark.parametrize(
    ("told", "free"),
    [
        ("Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/x 100 40 60 40% /data", 60),
        ("Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/mapper/long\n 100 40 60 40% /data", 60),
        ("df: /data: Permission denied", None),
    ],
)
def test_what_df_tells_is_read(phone: AdbDevice, told: str, free: int | None) -> None:
    script = phone.root / "bin" / "df"
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{told}\nEND\n")
    script.chmod(0o755)
    with AdbRunner(phone.address()).shell() as shell:
        assert look(shell).free == (free if free is None else free * 1024)


def test_a_folder_of_the_users_of_that_name_is_left_alone(phone: AdbDevice, tmp_path: Path) -> None:
    own = tmp_path / "disk" / "userland" / "debian-notes"
    own.mkdir(parents=True)
    with AdbRunner(phone.address(tmp_path / "disk")).shell() as shell:
        assert look(shell).taken == str(own.parent)
        assert remove(shell) == [] and own.exists()


def test_the_devices_own_python_is_told(place: Place) -> None:
    with remote_runner_for(place.address()).shell() as shell:
        found = look(shell)
    assert found.python == sys.version_info[:2] and not found.version and found.hashes
    assert found.machine == platform.machine()
