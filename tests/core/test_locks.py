"""A lock of a folder: one process holds it, and whatever lies in its place is left as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeprune.core.errors import OutputError
from edgeprune.core.locks import exclusive

HOLD = """
import sys
from pathlib import Path
from edgeprune.core.locks import exclusive
with exclusive(Path(sys.argv[1]), "the cache", "busy"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(lock: Path) -> Iterator[subprocess.Popen[bytes]]:
    args = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        yield other
        other.kill()


def test_a_lock_that_another_process_holds_is_refused_until_that_is_killed(tmp_path: Path) -> None:
    lock = tmp_path / "cache" / ".lock"
    refused = pytest.raises(OutputError, match=f"^{lock.parent}: busy$")
    with held_elsewhere(lock), refused, exclusive(lock, "the cache", "busy"):
        raise AssertionError("two processes hold one lock")
    with exclusive(lock, "the cache", "busy"):
        assert lock.is_file()
    assert lock.is_file(), "a folder is known by its lock"


def test_a_lock_can_be_waited_for(tmp_path: Path) -> None:
    lock, told = tmp_path / ".lock", []
    with held_elsewhere(lock) as other:

        def tell() -> None:
            told.append("waiting")
            other.kill()

        with exclusive(lock, "the cache", "busy", waiting=tell):
            assert told == ["waiting"]


def test_a_lock_follows_no_link_and_cuts_nothing_off(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("content")
    (tmp_path / "link").symlink_to(precious)
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "lost", "fifo"):
        refused = pytest.raises(OutputError, match=f"{name}: a lock is a regular file: remove what is there")
        with refused, exclusive(tmp_path / name, "the folder", "busy"):
            raise AssertionError(f"{name} is no lock")
    with exclusive(precious, "the folder", "busy"):
        pass
    assert precious.read_text() == "content" and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("place", ["file/.lock", "/proc/edgeprune/.lock", "nul\0/.lock"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="the cache cannot be written"),
        exclusive(tmp_path / place, "the cache", "busy"),
    ):
        raise AssertionError(f"{place} cannot be locked")
