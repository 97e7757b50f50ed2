"""Debian's OpenSSH server on loopback, with keys and configuration of its own: a device for the tests."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SERVER = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
ForceCommand PATH={folder}/bin:/usr/bin:/bin XDG_CACHE_HOME={folder}/cache exec sh -c "$SSH_ORIGINAL_COMMAND"
"""
CLIENT = """
Host *
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile none
  HostKeyAlias edgeprune-test
  IdentityFile {folder}/user
  IdentitiesOnly yes
  IdentityAgent none
"""


@dataclass
class Device:
    """A running server, and the configuration of a client that may log in.

    Its `python3` is the interpreter of the tests; `cache` is where the runner keeps things on it.
    """

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def cache(self) -> Path:
        return self.folder / "cache" / "edgeprune" / "device"

    def address(self, folder: Path | str = "", port: int | None = None) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{port or self.port}{folder}"

    def here(self, path: str) -> Path:
        """Return where a path of the device lies on this machine."""
        return Path(path)

    def drop(self) -> int:
        """Kill the server's side of every connection, not what it has started; return how many there were."""
        sessions = [each for each in psutil.Process(self.process.pid).children(True) if "sshd" in each.name()]
        for session in sessions:
            with contextlib.suppress(psutil.NoSuchProcess):
                session.kill()
        return len(sessions)

    def python_is(self, script: str) -> None:
        """Make the device's `python3` a shell script."""
        path = self.folder / "bin" / "python3"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def own_python(self) -> None:
        self.python_is(f'exec "{sys.executable}" "$@"')


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Device]:
    """Start a server in a temporary folder and end it with everything that it has started."""
    assert SSHD
    for name in ("host", "user", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    host_key = (folder / "host.pub").read_text()
    (folder / "known_hosts").write_text(f"edgeprune-test {host_key}")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # it insists on this folder when it is root
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "sshd_config"
    config.write_text(SERVER.format(folder=folder, port=port))
    (folder / "ssh_config").write_text(CLIENT.format(folder=folder))
    # New versions lock out an address that fails to log in, as some tests do on purpose.
    lenient = f"{config.read_text()}PerSourcePenalties no\n"
    (folder / "lenient").write_text(lenient)
    if not subprocess.run(
        [SSHD, "-t", "-f", folder / "lenient"], check=False, capture_output=True
    ).returncode:
        config.write_text(lenient)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stderr=log)
    device = Device(folder, port, process)
    device.own_python()
    try:
        _wait(device)
        yield device
    finally:
        device.drop()
        process.kill()
        process.wait()


def _wait(device: Device) -> None:
    deadline = time.monotonic() + 30
    while device.process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", device.port), 5):
            return
    raise AssertionError((device.folder / "log").read_text())


class Wire:
    """A port that passes bytes on to a server, and is cut once after so many of them from the client."""

    def __init__(self, port: int, cut_after: int) -> None:
        self.passed = 0
        self.cuts = 0
        self._to, self._left = port, cut_after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # or a thread that waits in accept() would get one more
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                threading.Thread(target=self._pass, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, False), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError), source, sink, _hanging_up(source, sink):
            while data := source.recv(1 << 16):
                sink.sendall(data)
                if counted:
                    self.passed += len(data)
                    self._left -= len(data)
                    if self._left <= 0 and not self.cuts:
                        self.cuts += 1
                        return


@contextlib.contextmanager
def _hanging_up(*ends: socket.socket) -> Iterator[None]:
    """Shut the sockets down at last: closing alone leaves them open while another thread reads them."""
    try:
        yield
    finally:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
