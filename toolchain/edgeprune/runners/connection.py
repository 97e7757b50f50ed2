"""Requests to `onboard.py` on a device, over the streams of a client program such as ssh or adb.

To start one takes a good part of a second on a small board. So the process that has answered a request is
kept for the next one, and ends with the connection, or with the first thing that goes wrong.
"""

from __future__ import annotations

import contextlib
import errno
import json
import subprocess
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from edgeprune.core.documents import parse_json
from edgeprune.core.errors import DeviceError, DroppedError
from edgeprune.runners import onboard
from edgeprune.runners.local import kill_group, last_line
from edgeprune.runners.userland import REFUSED, SETUP, start_line

CHUNK = 1 << 18
ANSWER_S = 600.0  # a large file on a slow card is hashed before the answer comes
_SOURCE = Path(onboard.__file__).read_bytes()
_TOO_OLD = "its python3 is older than 3.8"  # JetPack 4 has 3.6
# All that the user's shell on the device sees: no text of a file's name or of an argument is in it.
_ARGUMENTS = (
    f'-I -S -c \'import sys; sys.version_info < (3, 8) and sys.exit("{_TOO_OLD}"); '
    f"exec(sys.stdin.buffer.read({len(_SOURCE)}))'"
)

_ELSEWHERE = ": name another folder in the address"
# What to do about an error of a file system there, by its number, which is the same on every Linux.
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), ": make room there, or name another folder in the address"),
    **dict.fromkeys((errno.EROFS, errno.EPERM, errno.EACCES, errno.ENOTDIR, errno.EEXIST), _ELSEWHERE),
}


class Connection(ABC):
    """Requests to one device.

    Attributes:
        name: what messages call the device.
        root: its folder for all that is pushed, as text of a POSIX shell: `onboard.open_work` finds the same.
        own_python: text of that shell which runs before the device's own `python3` is looked for.
    """

    def __init__(self, name: str, root: str, own_python: str = "") -> None:
        self.name, self.root, self.own_python = name, root, own_python
        self._idle: Exchange | None = None

    @abstractmethod
    def shell(self, script: str) -> list[str]:
        """Return the command line that runs a POSIX script on the device, its streams those of the client.

        Raises:
            DeviceError: the device is out of reach; `DroppedError` where another try may help.
        """

    @abstractmethod
    def explain_client(self, code: int, said: str) -> DeviceError:
        """Return the error that explains why the client ended before the device had answered.

        Args:
            code: how the client ended.
            said: its standard error.
        """

    def explain(self, code: int, said: str) -> DeviceError:
        """Return the error that explains why no answer of Python came, see `explain_client`."""
        reason = last_line(said)
        setup = SETUP.format(self.name)
        if reason.startswith(REFUSED):
            return DeviceError(f"{self.name}: the userland there: {reason.removeprefix(REFUSED)}: {setup}")
        if reason == _TOO_OLD:
            return DeviceError(f"{self.name}: {_TOO_OLD}: {setup} brings one, or install 3.10 or newer there")
        if code == 127:
            return DeviceError(
                f"{self.name}: there is no python3 on the device: {setup} brings one, or install Python 3.10 "
                "or newer there"
            )
        return self.explain_client(code, said)

    def close(self) -> None:
        """End what this object has started here."""
        if idle := self._idle:
            self._idle = None
            idle.end()

    def ask(self, verb: str, **request: Any) -> dict[str, Any]:
        """Return the answer to a request that sends and gets no more than that.

        Raises:
            DeviceError: there is none, or it says what went wrong; `DroppedError` where another try may help.
        """
        if self._idle:
            with contextlib.suppress(DroppedError), self.open(verb, **request) as exchange:
                return exchange.answer()  # unless it had ended meanwhile: each request may be asked again
        with self.open(verb, **request) as exchange:
            return exchange.answer()

    def send(self, file: Path, root: str, sha256: str, offset: int) -> bool:
        """Copy a file to its place in the folder `root`; return whether its content is right there.

        Args:
            offset: bytes of it that are there.

        Raises:
            DeviceError: as of `ask`.
        """
        with file.open("rb") as stream:
            left = max(stream.seek(0, 2) - offset, 0)
            stream.seek(offset)
            which = {"root": root, "sha256": sha256, "offset": offset}
            with self.open("receive", **which, size=left) as exchange:
                while exchange.is_open and (chunk := stream.read(min(left, CHUNK))):
                    exchange.send(chunk)
                    left -= len(chunk)
                if left:  # it was cut here meanwhile
                    exchange.end_of_input()
                return bool(exchange.answer()["right"])

    def fetch(self, remote: str, local: Path) -> str:
        """Copy a file from the device; return the sha256 that it has there.

        Raises:
            DeviceError: as of `ask`.
        """
        with self.open("fetch", path=remote) as exchange:
            promised = exchange.answer()
            left: int = promised["size"]
            with local.open("wb") as stream:
                while left and (chunk := exchange.read(min(left, CHUNK))):
                    stream.write(chunk)
                    left -= len(chunk)
            if left:
                exchange.end_of_input()
        return str(promised["sha256"])

    @contextlib.contextmanager
    def open(self, verb: str, **request: Any) -> Iterator[Exchange]:
        """Send a request; yield the exchange, to send more and to read answers.

        No process outlives an error; else the one that has answered waits for the next request.

        Raises:
            DeviceError: the client is not on this machine, or the device is out of reach.
        """
        exchange, self._idle = self._idle, None
        if exchange is None:
            exchange = self._start()
        try:
            exchange.send(json.dumps({"verb": verb, **request}).encode() + b"\n")
            yield exchange
        except BaseException:
            exchange.end()
            raise
        if self._idle or not exchange.is_open:
            exchange.end()
        else:
            exchange.is_used = True
            self._idle = exchange

    def _start(self) -> Exchange:
        command = self.shell(start_line(self.root, self.own_python, _ARGUMENTS))
        stderr = tempfile.TemporaryFile()  # noqa: SIM115  the exchange closes it
        try:
            # A session of its own: Ctrl-C is for us, who then end what runs on the device.
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
        except OSError as exc:
            stderr.close()
            raise DeviceError(f"{self.name}: {command[0]} cannot be started here: {exc.strerror}") from exc
        exchange = Exchange(self, process, stderr)
        exchange.send(_SOURCE)
        return exchange


class Exchange:
    """A process on the device that answers requests, one after the other.

    Attributes:
        is_used: whether it has answered one.
    """

    is_used = False

    def __init__(self, connection: Connection, process: subprocess.Popen[bytes], stderr: IO[bytes]) -> None:
        self._connection, self._process, self._stderr = connection, process, stderr

    def end(self) -> None:
        """End it here, and so on the device."""
        self.end_of_input()
        kill_group(self._process)
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._stderr.close()

    def send(self, data: bytes) -> None:
        """Send data; when the other side is gone, nothing happens: `answer` then tells why."""
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(data)
                self._process.stdin.flush()

    def end_of_input(self) -> None:
        """Tell the other side that no more data comes, nor another request."""
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    @property
    def is_open(self) -> bool:
        """Whether the other side may still take data."""
        stdin = self._process.stdin
        return self._process.poll() is None and stdin is not None and not stdin.closed

    def answer(self, within: float = ANSWER_S) -> dict[str, Any]:
        """Return the next answer, past what login scripts print.

        Args:
            within: seconds after which the client is killed: the device may have frozen.

        Raises:
            DeviceError: the device says that something went wrong, or says nothing more.
        """
        silent = threading.Event()

        def give_up() -> None:
            silent.set()
            kill_group(self._process)

        watchdog = threading.Timer(within, give_up)
        watchdog.start()
        try:
            return self._read_answer()
        except DeviceError as exc:
            if silent.is_set():
                name = self._connection.name
                raise DroppedError(f"{name}: cannot be reached: silent for {within:g} s") from exc
            raise
        finally:
            watchdog.cancel()

    def _read_answer(self) -> dict[str, Any]:
        for line in self._process.stdout or ():
            if line.startswith(onboard.MARK) and line.endswith(b"\n"):
                text = line[len(onboard.MARK) :].decode(errors="replace")
                facts: dict[str, Any] = parse_json(text, self._connection.name, DeviceError)
                if "error" in facts:
                    where = f"{facts['path']}: " if facts["path"] else ""
                    said = "name a" in facts["error"]
                    advice = "" if said else _ADVICE.get(facts.get("errno") or 0, "")
                    raise DeviceError(f"{self._connection.name}: {where}{facts['error']}{advice}")
                return facts
        code = self._process.wait()
        if self.is_used:  # it was there: why it has gone, a new one tells
            raise DroppedError(f"{self._connection.name}: cannot be reached: the connection ended")
        self._stderr.seek(0)
        raise self._connection.explain(code, self._stderr.read().decode(errors="replace"))

    def read(self, size: int) -> bytes:
        """Return the next bytes after an answer, fewer only when the connection ends."""
        return self._process.stdout.read(size) if self._process.stdout else b""
