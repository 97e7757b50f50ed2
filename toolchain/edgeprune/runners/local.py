"""This machine as a device: processes without a shell, each in a group that a timeout ends whole."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeprune.core.errors import DeviceError, how_it_ended
from edgeprune.core.processes import safely
from edgeprune.runners import Completed
from edgeprune.runners.following import Followed


class LocalRunner:
    """Runs processes on the host itself; nothing is copied, paths are the same on both sides."""

    name = "local"
    machine = platform.machine()
    emulated = False

    def __enter__(self) -> LocalRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def python(self, *needs: str) -> str:
        """Return the interpreter that runs edgeprune itself; what it lacks, the worker tells."""
        return sys.executable

    def run(
        self, args: Sequence[str], timeout: float, on_line: Callable[[str], None] | None = None
    ) -> Completed:
        """Run a process to its end, handing each line of its standard output to `on_line` as it comes.

        Args:
            args: the command, never through a shell; paths in it are absolute, for its working folder is an
                empty one of its own. Modules that it runs by ``-m`` are not looked for in the user's folders.
            timeout: seconds after which the process and all its children are killed.

        Raises:
            DeviceError: it could not be started, timed out, printed without end, was killed by a signal or
                exited other than 0.
        """
        return run_process(self.name, args, timeout, on_line)

    def push(self, local: Path) -> str:
        """Return the path itself, absolute: the device is this machine."""
        return str(local.resolve())

    def push_all(self, paths: Sequence[Path]) -> list[str]:
        """Return the paths themselves, absolute."""
        return [self.push(path) for path in paths]

    def pull(self, remote: str, local: Path) -> Path:
        """Copy a file, unless it is already where it is wanted.

        Raises:
            DeviceError: there is no such file, or it cannot be read.
        """
        try:
            if Path(remote).resolve() != local.resolve():
                shutil.copyfile(remote, local)
            elif not local.is_file():
                raise FileNotFoundError(2, "No such file or directory")
        except OSError as exc:
            raise DeviceError(f"{self.name}: {remote}: cannot be read: {exc.strerror}") from exc
        return local


def run_process(
    name: str,
    args: Sequence[str],
    timeout: float,
    on_line: Callable[[str], None] | None = None,
    *,
    before: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Completed:
    """Run a process here to its end, in an empty working folder of its own; see `LocalRunner.run`.

    Args:
        name: what messages begin with.
        before: the command that runs `args`, which messages leave out.
        variables: its whole environment; this process's own by default.
    """
    command = textwrap.shorten(" ".join([Path(args[0]).name, *args[1:]]), 72, placeholder=" ...")
    with tempfile.TemporaryDirectory() as folder:
        environment = {**(os.environ if variables is None else variables), "TMPDIR": folder}
        try:
            # A session of its own makes a process group of its own: helpers it started end with it.
            process = subprocess.Popen(
                [*before, *safely(args)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                cwd=folder,
                env=environment,
            )
        except OSError as exc:
            raise DeviceError(f"{name}: {command}: cannot be started: {exc.strerror}") from exc
        followed = Followed(on_line)
        try:
            followed.to_the_end(process, timeout)
        finally:
            kill_group(process)
            process.wait()
    if followed.stopped:
        raise DeviceError.of_process(f"{name}: {command}", None, f"{followed.stopped}, it was stopped")
    if code := process.returncode:
        said = last_line(followed.stderr)
        raise DeviceError.of_process(f"{name}: {command}", code, how_it_ended(code), said)
    return Completed(tuple(args), process.returncode, followed.stdout, followed.stderr)


def kill_group(process: subprocess.Popen[Any]) -> None:
    """Kill all that is left of a process that was started in a session of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def last_line(text: str) -> str:
    """Return the last line that is not blank: as a rule the message of what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing on standard error"
