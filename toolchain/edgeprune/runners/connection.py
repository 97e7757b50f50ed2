"""One device behind the system's OpenSSH client: requests to `onboard.py` over one shared connection.

OpenSSH reads the user's own configuration: keys, jump hosts, aliases and known hosts are what `ssh` uses by
hand. Host keys are always verified; no configuration turns that off here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edgeprune.errors import ConfigError, DeviceError, DroppedError
from edgeprune.runners import onboard
from edgeprune.runners.local import kill_group, last_line

CONFIG_VARIABLE = "EDGEPRUNE_SSH_CONFIG"
_SOURCE = Path(onboard.__file__).read_bytes()
# All that the user's shell on the device sees: no text of ours or of a file's name is in it.
_COMMAND = f"python3 -I -S -c 'import sys; exec(sys.stdin.buffer.read({len(_SOURCE)}))'"
_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "NoHostAuthenticationForLocalhost": "no",
    "ControlMaster": "auto",
    "ControlPersist": "60",
    "ConnectTimeout": "20",
    "ServerAliveInterval": "10",
    "ServerAliveCountMax": "3",
    "ClearAllForwardings": "yes",
    "RequestTTY": "no",
    "LogLevel": "ERROR",
}
_ADDRESS = re.compile(
    r"ssh://(?:(?P<user>[\w.][\w.@-]*)@)?(?P<host>[A-Za-z0-9_][\w.-]*|\[[0-9a-fA-F:.]+(?:%\w+)?\])"
    r"(?::(?P<port>\d{1,5}))?(?P<folder>/.*)?",
    re.DOTALL,
)


@dataclass(frozen=True)
class Address:
    """Where a device is: ``ssh://user@host:port/folder``.

    Attributes:
        host: a name, a numeric address, or an alias of the ssh configuration.
        folder: on the device, for all that is pushed; empty for its cache folder.
    """

    host: str
    user: str | None
    port: str | None
    folder: str

    @classmethod
    def of(cls, text: str) -> Address:
        """Read an address.

        Raises:
            ConfigError: it has another form.
        """
        found = _ADDRESS.fullmatch(text)
        if not found:
            raise ConfigError(
                f"--device {text!r}: the form is ssh://user@host:port/folder, all but host may lack"
            )
        folder = (found["folder"] or "").rstrip("/")
        return cls(found["host"].strip("[]"), found["user"], found["port"], folder)

    def options(self) -> list[str]:
        """Return user and port for the command line of ssh; its configuration fills in what is not given."""
        given = {"-l": self.user, "-p": self.port}
        return [word for option, value in given.items() if value for word in (option, value)]


class Connection:
    """Requests to one device, through one control master that ends with this object."""

    def __init__(self, address: Address, name: str) -> None:
        self.address = address
        self.name = name
        # The path of a unix socket has room for 104 bytes on some systems: no folder of the user's.
        self._folder = Path(tempfile.mkdtemp(prefix="ep-", dir="/tmp"))

    def close(self) -> None:
        """End the control master."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(self._ssh("-O", "exit"), capture_output=True, check=False, timeout=30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def ask(self, verb: str, **request: Any) -> dict[str, Any]:
        """Return the answer to a request that sends and gets no more than that.

        Raises:
            DeviceError: there is none, or it says what went wrong; `DroppedError` where another try may help.
        """
        with self.open(verb, **request) as exchange:
            exchange.end_of_input()
            return exchange.answer()

    @contextlib.contextmanager
    def open(self, verb: str, **request: Any) -> Iterator[Exchange]:
        """Send a request; yield the exchange, to send more and to read answers. No process outlives it.

        Raises:
            DeviceError: there is no ssh on this machine.
        """
        with tempfile.TemporaryFile() as stderr:
            try:
                # A session of its own: Ctrl-C is for us, who then end what runs on the device.
                process = subprocess.Popen(
                    self._ssh(_COMMAND),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    start_new_session=True,
                )
            except OSError as exc:
                raise DeviceError(f"{self.name}: ssh cannot be started here: {exc.strerror}") from exc
            try:
                exchange = Exchange(self, process, stderr)
                exchange.send(_SOURCE + json.dumps({"verb": verb, **request}).encode() + b"\n")
                yield exchange
            finally:
                exchange.end_of_input()
                kill_group(process)
                process.wait()
                if process.stdout:
                    process.stdout.close()

    def _ssh(self, *words: str) -> list[str]:
        options = [f"-o{key}={value}" for key, value in _OPTIONS.items()]
        config = os.environ.get(CONFIG_VARIABLE)
        own = ["-F", config] if config else []
        before, after = (words, ()) if words[0] == "-O" else ((), words)
        socket = f"-oControlPath={self._folder}/s"
        return [
            "ssh",
            *own,
            *options,
            socket,
            *self.address.options(),
            *before,
            "--",
            self.address.host,
            *after,
        ]


class Exchange:
    """One running request."""

    def __init__(self, connection: Connection, process: subprocess.Popen[bytes], stderr: IO[bytes]) -> None:
        self._connection, self._process, self._stderr = connection, process, stderr

    def send(self, data: bytes) -> None:
        """Send data; when the other side is gone, nothing happens: `answer` then tells why."""
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(data)
                self._process.stdin.flush()

    def end_of_input(self) -> None:
        """Tell the other side that no more data comes."""
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    @property
    def is_open(self) -> bool:
        """Whether the other side may still take data."""
        return self._process.poll() is None

    def answer(self) -> dict[str, Any]:
        """Return the next answer, past what login scripts print.

        Raises:
            DeviceError: the device says that something went wrong, or says nothing more.
        """
        for line in self._process.stdout or ():
            if line.startswith(onboard.MARK) and line.endswith(b"\n"):
                facts: dict[str, Any] = json.loads(line[len(onboard.MARK) :])
                if "error" in facts:
                    where = f"{facts['path']}: " if facts["path"] else ""
                    raise DeviceError(f"{self._connection.name}: {where}{facts['error']}")
                return facts
        raise self._silence()

    def read(self, size: int) -> bytes:
        """Return the next bytes after an answer, fewer only when the connection ends."""
        return self._process.stdout.read(size) if self._process.stdout else b""

    def _silence(self) -> DeviceError:
        """Return the error that explains why no answer came."""
        code = self._process.wait()
        self._stderr.seek(0)
        said = self._stderr.read().decode(errors="replace")
        name = self._connection.name
        if "IDENTIFICATION HAS CHANGED" in said:
            return DeviceError(
                f"{name}: its host key is not the known one: it is another machine, or set up anew; if "
                "you are sure, forget the old key by ssh-keygen -R"
            )
        if "Host key verification failed" in said or "host key is known for" in said:
            return DeviceError(f"{name}: its host key is not known here: log in once by ssh and check it")
        if "Permission denied" in said and code == 255:
            return DeviceError(
                f"{name}: it refuses the keys that ssh offers: ssh-copy-id, or ssh-add the right one"
            )
        if code == 255:
            return DroppedError(f"{name}: cannot be reached: {last_line(said)}")
        if code == 127:
            return DeviceError(
                f"{name}: there is no python3 on the device: install Python 3.10 or newer there"
            )
        return DeviceError(f"{name}: no answer from the device: {last_line(said)}")
