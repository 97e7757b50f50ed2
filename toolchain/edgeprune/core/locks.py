"""Locks of whole folders, by `filelock`: they end with the process that holds them, however it ends."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from edgeprune.core.errors import OutputError
from edgeprune.core.files import reason


@contextmanager
def exclusive(lock: Path, what: str, busy: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock file for this process; its folder is made if it is not there.

    Args:
        what: the folder, and `busy` who else holds it, in the words of the errors.
        waiting: called when another process holds the lock, which is then waited for; None to raise instead.

    Raises:
        OutputError: the folder cannot be written, another process holds the lock, or what lies there is a
            link or no regular file. Nothing of what lies there is written or cut off.
    """
    held = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        _require_regular(lock)
        try:
            held.acquire(blocking=False)
        except Timeout as exc:
            if waiting is None:
                raise OutputError(f"{lock.parent}: {busy}") from exc
            waiting()
            held.acquire()
    except (OSError, ValueError) as exc:
        raise OutputError(f"{lock.parent}: {what} cannot be written: {reason(exc)}") from exc
    try:
        yield
    finally:
        held.release()


def _require_regular(lock: Path) -> None:
    try:
        found = lock.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise OutputError(f"{lock}: a lock is a regular file: remove what is there")
