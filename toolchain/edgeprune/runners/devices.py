"""Which runner an address of `--device` stands for."""

from __future__ import annotations

from collections.abc import Callable

from edgeprune.core.errors import ConfigError
from edgeprune.runners import Runner
from edgeprune.runners.adb import AdbRunner
from edgeprune.runners.emulated import SCHEME as EMULATED
from edgeprune.runners.local import LocalRunner
from edgeprune.runners.recording import ReplayRunner
from edgeprune.runners.remote import RemoteRunner
from edgeprune.runners.ssh import SshRunner

LOCAL = LocalRunner.name
SCHEMES: dict[str, Callable[[str], Runner]] = {
    "ssh": SshRunner,
    "adb": AdbRunner,
    "replay": ReplayRunner,
}


def runner_for(device: str) -> Runner:
    """Return the runner of ``local`` or of an address such as ``ssh://user@host:port``, not yet entered.

    Raises:
        ConfigError: there is no such kind of device, or its address has another form.
    """
    if device == LOCAL:
        return LocalRunner()
    scheme = device.partition("://")[0]
    if scheme == EMULATED:
        raise ConfigError(
            f"--device {device!r}: nothing is timed or set up on an emulated device: only `edgeprune bench "
            "--device` takes it, prepares it and compares its outputs"
        )
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://..." for name in SCHEMES)
        raise ConfigError(
            f"--device {device!r}: there are {LOCAL} and {known}, for bench also {EMULATED}://..."
        )
    return SCHEMES[scheme](device)


def remote_runner_for(device: str) -> RemoteRunner:
    """Return the runner of a device that has a folder of its own to install into, not yet entered.

    Raises:
        ConfigError: the address is none, or that of another kind of device.
    """
    runner = runner_for(device)
    if not isinstance(runner, RemoteRunner):
        raise ConfigError(f"{device!r}: nothing is set up there: the device is one behind ssh:// or adb://")
    return runner
