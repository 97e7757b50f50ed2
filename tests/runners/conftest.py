"""A runner on a device behind a real ssh server, and a folder with a bad name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeprune.runners.ssh import SshRunner
from sshd import Device


@pytest.fixture
def runner(device: Device) -> Iterator[SshRunner]:
    """Return a runner that is connected to the device."""
    with SshRunner(device.address()) as entered:
        yield entered


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a folder whose name a shell, or a line-based protocol, would take apart."""
    folder = tmp_path / 'it\'s a "dir"\nwith $(touch pwned) `x`; \\ *?é'
    folder.mkdir()
    return folder
