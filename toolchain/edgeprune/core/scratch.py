"""One private folder for all that a run writes for a moment, removed with it, also by the next run.

Whatever asks Python's `tempfile` for a file or folder gets it there: edgeprune, the libraries, the workers.
The folder is held by a lock that ends with its process, so one that nobody holds was left by a killed run.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

PREFIX = "edgeprune-run-"
_OWNER = "owner"
_OF_A_USER = ("HOME", "USER")
_BORN_WITHIN_S = 3600.0  # a folder without its lock is just being made, or was left in that moment


@contextlib.contextmanager
def private_temporary_folder() -> Iterator[None]:
    """Let all temporary files be made in a folder of this run's own until the block is left.

    Folders of runs that were killed are removed first; those of other users and of running processes are
    not. Where no folder can be made, whatever needs one says so.
    """
    try:
        base = Path(tempfile.gettempdir())
        _sweep(base)
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base))
    except OSError:
        yield
        return
    before = dict(os.environ)
    try:
        with _held(folder):
            _use(str(folder))
            _give_home(folder)
            yield
    finally:
        _use(before.get("TMPDIR"))
        for name in _OF_A_USER:
            if name not in before:
                os.environ.pop(name, None)
        shutil.rmtree(folder, ignore_errors=True)


def goes_with_this_run(path: Path) -> bool:
    """Return whether a path lies in this run's private folder, as the home of a user without one does."""
    folder = Path(tempfile.gettempdir())
    return folder.name.startswith(PREFIX) and folder in path.parents


def _give_home(folder: Path) -> None:
    """Let a user whom the system does not know, as in many containers, have a home and a name for the run."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(folder)
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["USER"] = f"user{os.getuid()}"


def _use(folder: str | None) -> None:
    if folder is None:
        os.environ.pop("TMPDIR", None)
    else:
        os.environ["TMPDIR"] = folder
    tempfile.tempdir = None  # it is looked up again


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the lock by which others see that the folder is in use; under its name it is always held."""
    aside = folder / f".{_OWNER}"
    with FileLock(aside):
        aside.rename(folder / _OWNER)
        yield


def _sweep(base: Path) -> None:
    for folder in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            if (folder / _OWNER).exists():
                with FileLock(folder / _OWNER, blocking=False):  # raises an OSError while its run goes on
                    shutil.rmtree(folder, ignore_errors=True)
            elif time.time() - folder.stat().st_mtime > _BORN_WITHIN_S:
                shutil.rmtree(folder, ignore_errors=True)
