"""A PostgreSQL server of a test's own on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tool(name: str) -> str | None:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, places)]))


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Start a server that keeps its data in a folder; yield its URL. Skips where there is none."""
    initdb, server = _tool("initdb"), _tool("pg_ctl")
    if not initdb or not server:
        pytest.skip("PostgreSQL is not installed")
    user: list[str] = []
    if os.geteuid() == 0:  # it refuses to run as root
        if not shutil.which("runuser"):
            pytest.skip("PostgreSQL does not run as root, and there is no runuser")
        user = ["runuser", "-u", "postgres", "--"]
        for place in (folder, *folder.parents):  # pytest's own are private to the user
            if not place.stat().st_mode & 0o001:
                place.chmod(place.stat().st_mode | 0o011)
        shutil.chown(folder, "postgres")
    data, port = folder / "data", free_port()
    options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories={folder} -c fsync=off"
    subprocess.run(
        [*user, initdb, "-D", data, "-A", "trust", "-U", "worker"], check=True, capture_output=True
    )
    run = [*user, server, "-D", str(data), "-l", str(folder / "log"), "-w"]
    subprocess.run([*run, "-o", options, "start"], check=True, stdout=subprocess.DEVNULL)
    try:
        yield f"postgresql://worker@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*run, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL)
