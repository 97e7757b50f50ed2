"""A device behind the system's OpenSSH client, over one shared connection.

OpenSSH reads the user's own configuration: keys, jump hosts, aliases and known hosts are what `ssh` uses by
hand. Host keys are always verified; no configuration turns that off here. Files go through requests too, not
by `sftp` or `rsync`: small boards have neither (dropbear), sftp's commands cannot name a file with a newline
and say only "Failure" of a full disk.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.errors import ConfigError, DeviceError, DroppedError
from edgeprune.runners.connection import Connection
from edgeprune.runners.local import last_line
from edgeprune.runners.remote import RemoteRunner

CONFIG_VARIABLE = "EDGEPRUNE_SSH_CONFIG"
# The folder that `onboard.open_work` finds where the address names none.
_CACHE = '"${XDG_CACHE_HOME:-${HOME-}/.cache}"/edgeprune/device'
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
    "RemoteCommand": "none",  # a user's own, such as tmux, would stand in the way of ours
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
            password = ":" in text.removeprefix("ssh://").rpartition("@")[0]
            said = "; a password is not taken: log in with a key, by ssh-copy-id" if password else ""
            raise ConfigError(
                f"--device {text!r}: the form is ssh://user@host:port/folder, where all but the host may be "
                f"left out{said}"
            )
        folder = (found["folder"] or "").rstrip("/")
        return cls(found["host"].strip("[]"), found["user"], found["port"], folder)

    def options(self) -> list[str]:
        """Return user and port for the command line of ssh; its configuration fills in what is not given."""
        given = {"-l": self.user, "-p": self.port}
        return [word for option, value in given.items() if value for word in (option, value)]


class SshRunner(RemoteRunner):
    """A device that OpenSSH reaches."""

    def __init__(self, address: str) -> None:
        parsed = Address.of(address)
        super().__init__(address, parsed.folder, lambda: SshConnection(parsed, address))


class SshConnection(Connection):
    """Requests through one control master that ends with this object."""

    def __init__(self, address: Address, name: str) -> None:
        super().__init__(name, shlex.quote(address.folder) if address.folder else _CACHE)
        self._address = address
        # The path of a unix socket has room for 104 bytes on some systems: no folder of the user's.
        self._folder = Path(tempfile.mkdtemp(prefix="ep-", dir="/tmp"))

    def close(self) -> None:
        """End the process on the device, and the control master."""
        super().close()
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(self._ssh("-O", "exit"), capture_output=True, check=False, timeout=30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def shell(self, script: str) -> list[str]:
        """Return the command line of ssh that runs a script, whichever shell the user logs into.

        It is one line for that shell: csh takes no quoted one with an end in it.
        """
        line = script.replace("\\", "\\\\").replace("\n", "\\n")
        return self._ssh(f'exec sh -c \'eval "$(printf %b "$0")"\' {shlex.quote(line)}')

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
            *self._address.options(),
            *before,
            "--",
            self._address.host,
            *after,
        ]

    def explain_client(self, code: int, said: str) -> DeviceError:
        """Return the error that explains why no answer came."""
        name = self.name
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
        return DeviceError(f"{name}: no answer from the device: {last_line(said)}")
