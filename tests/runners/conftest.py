"""A device behind a real ssh server, entered or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeprune.runners import ssh
from edgeprune.runners.connection import CONFIG_VARIABLE
from edgeprune.runners.ssh import SshRunner
from sshd import SSHD, Device, running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """Return the device; one server for all tests."""
    if not SSHD:
        pytest.skip("no sshd here: apt-get install openssh-server")
    with running(tmp_path_factory.mktemp("sshd")) as device:
        yield device


@pytest.fixture
def device(server: Device, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """Return the device with the client's configuration in force and tries that follow quickly."""
    monkeypatch.setenv(CONFIG_VARIABLE, str(server.config))
    monkeypatch.setattr(ssh, "BACKOFF_S", (0.05, 0.1, 0.2, 0.4))
    yield server
    server.own_python()


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
