"""Which runner an address of `--device` stands for."""

from __future__ import annotations

from collections.abc import Callable

from edgeprune.errors import ConfigError
from edgeprune.runners import Runner
from edgeprune.runners.emulated import EmulatedRunner
from edgeprune.runners.local import LocalRunner
from edgeprune.runners.ssh import SshRunner

LOCAL = LocalRunner.name
SCHEMES: dict[str, Callable[[str], Runner]] = {"ssh": SshRunner, "emulated": EmulatedRunner}


def runner_for(device: str) -> Runner:
    """Return the runner of ``local`` or of an address such as ``ssh://user@host:port``, not yet entered.

    Raises:
        ConfigError: there is no such kind of device, or its address has another form.
    """
    if device == LOCAL:
        return LocalRunner()
    scheme = device.partition("://")[0]
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://..." for name in SCHEMES)
        raise ConfigError(f"--device {device!r}: there are {LOCAL} and {known}")
    return SCHEMES[scheme](device)
