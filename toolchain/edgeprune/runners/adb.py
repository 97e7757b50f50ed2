"""A phone or board behind the system's `adb`: files by its sync service, the rest by requests to its Python.

The user's own adb server and keys are used, whichever `ANDROID_ADB_SERVER_PORT` and the like name; none is
ended here. Exit codes and standard error are kept by version 2 of adb's shell protocol (Android 7).
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.errors import ConfigError, DeviceError, DroppedError
from edgeprune.runners.connection import Connection
from edgeprune.runners.local import last_line
from edgeprune.runners.remote import RemoteRunner

FOLDER = "/data/local/tmp/edgeprune"
TERMUX = "/data/data/com.termux/files/usr/bin"
INSTALL = "apt-get install adb, or Android's SDK Platform-Tools"
QUERY_TIMEOUT_S = 60.0
SLOWEST = 1e5  # bytes a second; a transfer that is slower has stalled
_ADDRESS = re.compile(
    r"adb://(?P<serial>(?:[\w.][\w.:%-]*|\[[0-9a-fA-F:.]+(?:%\w+)?\]:\d+)?)(?P<folder>/.*)?", re.DOTALL
)
_NETWORK = re.compile(r".+:\d{1,5}")
# Seconds between looks at a device that has been found just now, and is in one of these states.
SETTLE_S = (0.1, 0.3, 1.0, 2.0)
_STARTING = threading.Lock()  # of two clients that start a server at the same time, one fails
_PASSING = ("connecting", "authorizing")
# States of `adb devices` that only the user can change, and how.
_UNTRUSTED = "it does not trust this machine yet: unlock it and accept its dialog on USB debugging"
_BLOCKED = {
    "unauthorized": _UNTRUSTED,
    "authorizing": _UNTRUSTED,
    "no permissions": "this user may not open it: apt-get install android-sdk-platform-tools-common, and "
    "join the group plugdev",
    "recovery": "it runs its recovery system: start it as usual",
    "sideload": "it waits for an update: start it as usual",
    "bootloader": "it is in its bootloader: start it as usual",
}


@dataclass(frozen=True)
class Address:
    """Where a device is: ``adb://serial/folder``.

    Attributes:
        serial: as `adb devices` shows it, or ``host:port``; empty for the only device.
        folder: on the device, for all that is pushed.
    """

    serial: str
    folder: str

    @classmethod
    def of(cls, text: str) -> Address:
        """Read an address; one without a serial takes that of `ANDROID_SERIAL`, as adb does.

        Raises:
            ConfigError: it has another form.
        """
        found = _ADDRESS.fullmatch(text)
        if not found:
            raise ConfigError(f"--device {text!r}: the form is adb://serial/folder or adb://host:port/folder")
        serial = found["serial"] or os.environ.get("ANDROID_SERIAL", "")
        return cls(serial, (found["folder"] or "").rstrip("/") or FOLDER)


class AdbRunner(RemoteRunner):
    """A device that adb reaches."""

    def __init__(self, address: str) -> None:
        parsed = Address.of(address)
        super().__init__(address, parsed.folder, lambda: AdbConnection(parsed, address))


class AdbConnection(Connection):
    """Requests and files through the adb server of this machine."""

    def __init__(self, address: Address, name: str) -> None:
        # A python3 of the user's own, or a script that starts one, may lie in the folder `bin` of ours.
        root = shlex.quote(address.folder)
        super().__init__(name, root, f'PATH={root}/bin:"$PATH":{TERMUX}; export PATH')
        self._serial, self._attached = address.serial, False
        self._session = uuid.uuid4().hex

    def shell(self, script: str) -> list[str]:
        """Return the command line of adb that runs a script; attach the device first, also after a drop."""
        return ["adb", "-s", self._attach(), "shell", "-T", script]

    def send(self, file: Path, root: str, sha256: str, offset: int) -> bool:
        """Copy a file by the sync service, which sends it from its first byte; the device then checks it.

        To a path of this session's own: the service begins by removing what another one may be sending there.
        """
        arrived = f"{root}/files/{sha256}.{self._session}.partial"
        size = file.stat().st_size
        self.copy("push", str(file.resolve()), arrived, size=size, where=f"{root}/files")
        return bool(self.ask("keep", root=root, sha256=sha256, arrived=arrived)["right"])

    def fetch(self, remote: str, local: Path) -> str:
        """Copy a file by the sync service; return the sha256 that it has on the device."""
        promised = self.ask("describe", path=remote)
        self.copy("pull", remote, str(local.absolute()), size=promised["size"], where=remote)
        return str(promised["sha256"])

    def explain_client(self, code: int, said: str) -> DeviceError:
        """Return the error that explains why no answer came."""
        reason = last_line(said)
        is_of_adb = reason.startswith(("error: ", "adb: "))
        if is_of_adb and re.search(r"\bpty\b|shell protocol", reason, re.IGNORECASE):
            return DeviceError(f"{self.name}: its adbd is older than Android 7's and would lose exit codes")
        if is_of_adb:
            return self._dropped(reason)
        if code == 0:  # what adb ends with when the connection does
            return self._dropped("the connection ended before the answer")
        return DeviceError(f"{self.name}: no answer from the device: {reason}")

    def copy(self, *words: str, size: int, where: str) -> None:
        """Let adb copy a file, by its own words `push` or `pull`.

        Args:
            size: of the file, bytes: the time that it may take.
            where: the folder or file of the device, for the errors.

        Raises:
            DeviceError: adb cannot.
        """
        timeout = QUERY_TIMEOUT_S + size / SLOWEST
        done = _adb(self.name, "-s", self._attach(), *words, timeout=timeout)
        if done.returncode == 0:
            return
        said = done.stdout
        for path in words[1:]:
            said = said.replace(path, "")  # whatever a name holds, it is not taken for a message
        # What the device says comes after `remote`, in all versions of adb; what fails here after `cannot`.
        if told := re.search(r": remote (?:.*: )?(.+)|error: (cannot .+)", said):
            raise DeviceError(f"{self.name}: {where}: {told[1] or told[2]}")
        counted = re.search(r"\d+ files? (pushed|pulled), ", said)  # the figures that adb prints at its end
        raise self._dropped(
            f"the connection ended before all was {counted[1]}" if counted else last_line(said)
        )

    def _dropped(self, reason: str) -> DeviceError:
        self._attached = False
        return DroppedError(f"{self.name}: cannot be reached: {reason}")

    def _attach(self) -> str:
        """Return the serial of a device that is ready.

        Raises:
            DeviceError: it is not; `DroppedError` where it may become so by itself.
        """
        if self._attached:
            return self._serial
        _start_server(self.name)
        answer = ""
        if _NETWORK.fullmatch(self._serial):
            answer = _adb(self.name, "connect", self._serial).stdout
        for pause in (*SETTLE_S, None):
            states = list_attached(self.name)
            self._serial = self._serial or self._only(states)
            state = states.get(self._serial, "")
            if pause is None or state not in _PASSING:
                break
            time.sleep(pause)
        if state != "device":
            raise self._not_ready(state, answer, states)
        self._attached = True
        return self._serial

    def _only(self, states: dict[str, str]) -> str:
        if not states:
            raise DeviceError(f"{self.name}: no device is attached: plug one in that allows USB debugging")
        if len(states) > 1:
            named = ", ".join(f"adb://{serial}" for serial in states)
            raise DeviceError(f"{self.name}: several devices are attached: name one of {named}")
        return next(iter(states))

    def _not_ready(self, state: str, answer: str, states: dict[str, str]) -> DeviceError:
        for blocked, advice in _BLOCKED.items():
            if state.startswith(blocked):
                return DeviceError(f"{self.name}: {advice}")
        if state:
            return self._dropped(f"it is {state}")
        if answer:
            return self._dropped(last_line(answer))
        return self._dropped(f"no such device is attached; there are {', '.join(states) or 'none'}")


def list_attached(name: str = "adb") -> dict[str, str]:
    """Return the state of every device that adb knows, by serial: ``device`` is one that is ready.

    Args:
        name: what the error's message begins with.

    Raises:
        DeviceError: there is no adb here, or its server does not answer.
    """
    _start_server(name)
    entries = (line.partition("\t") for line in _adb(name, "devices").stdout.splitlines())
    return {serial: state.strip() for serial, tab, state in entries if tab}


def _start_server(name: str) -> None:
    with _STARTING:
        done = _adb(name, "start-server")
    if done.returncode:
        raise DeviceError(f"{name}: the adb server of this machine does not start: {last_line(done.stdout)}")


def _adb(name: str, *words: str, timeout: float = QUERY_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
    """Run adb; its standard output has its standard error as well: versions differ in which has what."""
    command = ["adb", *words]
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
        )
    except FileNotFoundError as exc:
        raise DeviceError(f"{name}: there is no adb on this machine: {INSTALL}") from exc
    except OSError as exc:
        raise DeviceError(f"{name}: adb cannot be started here: {exc.strerror}") from exc
    except subprocess.TimeoutExpired as exc:
        raise DroppedError(f"{name}: cannot be reached: adb did not end within {timeout:.0f} s") from exc
