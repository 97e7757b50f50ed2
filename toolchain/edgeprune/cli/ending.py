"""How a process ends: signals, streams that are closed, a reader that has gone, a folder that was removed."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from edgeprune.core.errors import ConfigError, EdgepruneError, OutputError
from edgeprune.core.extras import missing_module
from edgeprune.core.processes import hidden_package

SIGNALS = (signal.SIGTERM, signal.SIGHUP)
NO_READER = 141  # as a shell tells of a process that SIGPIPE ended
NO_MEMORY = "the memory is full, or a limit of it is in force (ulimit -v, a container)"
_DEAF_S = 10.0  # `timeout` sends its signal twice: the second must not end the cleaning up after the first


class Terminated(KeyboardInterrupt):
    """The process was told to end: it ends as by Ctrl-C, and is handled where that is.

    Attributes:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into `Terminated` in the main thread, so that what runs is ended and removed.

    One that whoever started us has set to be ignored, as `nohup` does, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner, first = os.getpid(), -_DEAF_S

    def end(signum: int, frame: FrameType | None) -> None:
        nonlocal first
        if os.getpid() != owner:  # a process that a library has forked: it ends as if we were not there
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        elif time.monotonic() - first >= _DEAF_S:
            first = time.monotonic()
            raise Terminated(signum)

    before = {}
    try:
        for signum in SIGNALS:
            if signal.getsignal(signum) is signal.SIG_DFL:
                before[signum] = signal.signal(signum, end)
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def open_closed_streams() -> None:
    """Give standard streams that are closed the null device.

    The next file that is opened would take a closed stream's number, and get what a library prints there.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  # as long as we live


def flush_output() -> OSError | None:
    """Write out what is still to be printed; return why that failed, after which nothing more is printed."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as exc:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exc if isinstance(exc, OSError) else None
    return None


def require_working_folder() -> None:
    """Refuse to run in a folder that was removed: no relative path means anything there.

    Raises:
        ConfigError: it was.
    """
    try:
        os.getcwd()  # noqa: PTH109  # what Path.cwd calls
    except OSError as exc:
        raise ConfigError(f"the working folder cannot be told: {exc.strerror}: change to another") from exc


def require_packages() -> None:
    """Refuse to run where a file of the user's would be imported, and run, in place of a package.

    Raises:
        ConfigError: a folder of PYTHONPATH holds one.
    """
    if found := hidden_package():
        file, package = found
        raise ConfigError(
            f"PYTHONPATH: {file} would be imported in place of {package}: rename it, or leave its folder out"
        )


def cannot_import(exc: ImportError) -> EdgepruneError:
    """Return the error of a package that is damaged or incomplete: what is missing by itself has its own."""
    if isinstance(exc, ModuleNotFoundError) and (missing := missing_module(exc)):
        return missing
    if "failed to map segment" in str(exc) or "annot allocate memory" in str(exc):  # of the loader
        return EdgepruneError(f"{exc.name or 'a package'}: cannot be loaded: {NO_MEMORY}")
    return EdgepruneError(
        f"{exc.name or 'a package'}: cannot be imported: {exc}: install edgeprune again, or see "
        "`edgeprune doctor`"
    )


def cannot_write(exc: OSError) -> EdgepruneError | None:
    """Return the error of a file that could not be written where the system's own number of it is lost."""
    why = "the disk is full, or a limit of file sizes is in force (ulimit -f)"
    if isinstance(exc, FileNotFoundError) and "temporary directory" in str(exc.strerror):  # of `tempfile`
        return OutputError(f"no temporary file can be written: {why}; TMPDIR names another folder")
    if exc.errno is None and " requested and " in str(exc):  # of numpy
        return OutputError(f"a file could not be written whole: {why}")
    return None
