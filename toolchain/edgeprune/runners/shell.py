"""The shell of a device, for what has to be done there before it has a Python: POSIX words and few tools.

A script of ours is one argument of the client program. Names in it are quoted, and nothing that the device
says is run.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from pathlib import Path
from typing import IO

from edgeprune.core.errors import DeviceError, DroppedError
from edgeprune.runners.connection import Connection
from edgeprune.runners.local import kill_group, last_line

TIMEOUT_S = 60.0
SLOWEST = 1e5  # bytes a second; a transfer that is slower has stalled
_BEGIN, _END = "edgeprune-shell: begins", "edgeprune-shell: ends"


class Shell:
    """Scripts on one device, each over a client process of its own.

    Attributes:
        connection: the device; its `root` is the folder that scripts know as ``$R``.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @property
    def name(self) -> str:
        """What messages call the device."""
        return self.connection.name

    def run(
        self,
        script: str,
        timeout: float = TIMEOUT_S,
        data: bytes = b"",
        file: Path | None = None,
        at: int = 0,
    ) -> str:
        """Run a script to its end and return its standard output.

        Args:
            data: its standard input.
            file: its standard input instead, from the byte `at` on.

        Raises:
            DeviceError: it exited other than 0, and the last line of its standard error says why.
            DroppedError: the connection ended before it did.
        """
        # The blank line ends one that a login script has left open.
        inner = f"umask 077\nR={self.connection.root}\n{script}"
        whole = f"echo; echo '{_BEGIN}'; (\n{inner}\n); echo '{_END}' $?"
        with contextlib.ExitStack() as stack:
            source: IO[bytes] | None = None
            if file:
                source = stack.enter_context(file.open("rb"))
                source.seek(at)
            code, said, errors = self._client(whole, source, data, timeout)
        body, end, status = said.rpartition(f"{_END} ")
        if not end:
            raise self.connection.explain_client(code, errors)
        if status.strip() != "0":
            raise DeviceError(f"{self.name}: {last_line(errors)}")
        return body.partition(f"{_BEGIN}\n")[2]

    def _client(
        self, script: str, source: IO[bytes] | None, data: bytes, timeout: float
    ) -> tuple[int, str, str]:
        command = self.connection.shell(script)
        try:
            process = subprocess.Popen(
                command,
                stdin=source or subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as exc:
            raise DeviceError(f"{self.name}: {command[0]} cannot be started here: {exc.strerror}") from exc
        try:
            said, errors = process.communicate(None if source else data, timeout)
        except subprocess.TimeoutExpired as exc:
            raise DroppedError(f"{self.name}: cannot be reached: silent for {timeout:.0f} s") from exc
        finally:
            kill_group(process)
            process.wait()
        return process.returncode, said.decode(errors="replace"), errors.decode(errors="replace")

    def put(self, file: Path, sha256: str, place: str, at: int) -> bool:
        """Append the rest of a file to what is there of it; return whether it is whole and right then.

        What is wrong is removed.

        Args:
            place: a path there; until it is whole, the file has ``.part`` at the end of its name.
            at: the bytes of it that are there.

        Raises:
            DeviceError: the device has no space.
            DroppedError: the connection ended before all of it had arrived: what has stays there.
        """
        size = file.stat().st_size
        whole, part = shlex.quote(place), shlex.quote(f"{place}.part")
        said = self.run(
            f"cat >> {part} || {{ rm -f {part}; exit 1; }}\n"
            f"[ $(wc -c < {part}) -ge {size} ] || {{ echo short; exit 0; }}\n"
            f'case "$(sha256sum < {part})" in {sha256}*) mv -f {part} {whole}; echo right;; '
            f"*) rm -f {part}; echo wrong;; esac",
            TIMEOUT_S + size / SLOWEST,
            file=file,
            at=at,
        ).strip()
        if said == "short":
            raise DroppedError(f"{self.name}: cannot be reached: the connection ended within {file.name}")
        return said == "right"
