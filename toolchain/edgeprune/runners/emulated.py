"""A device that this machine imitates: processes of another architecture under qemu's user mode.

What it computes is what that instruction set computes. How long it takes says nothing about any device, so no
latency is ever measured on it: `emulated` tells those who would.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeprune.core.backend import all_backends, modules_of
from edgeprune.core.errors import ConfigError, DeviceError, did_you_mean
from edgeprune.runners import Completed
from edgeprune.runners.debian import Say
from edgeprune.runners.local import LocalRunner, run_process
from edgeprune.runners.sysroot import ARCHITECTURES, PYTHON, contents, site, system, wheels_for
from edgeprune.runners.travel import write_package

SCHEME = "emulated"


class EmulatedRunner(LocalRunner):
    """Runs Python of another architecture; files lie where they are, the emulator opens them in place.

    Attributes:
        name: the address, for messages.
        machine: the architecture.
    """

    emulated = True

    def __init__(self, address: str, say: Say = lambda share, text: None) -> None:
        """Read an address.

        Args:
            say: told what is fetched, when the cache does not hold it yet.

        Raises:
            ConfigError: it has another form, or no such architecture can be emulated.
        """
        self.name = address
        self.machine = address.removeprefix(f"{SCHEME}://")
        if self.machine not in ARCHITECTURES:
            known = ", ".join(f"{SCHEME}://{machine}" for machine in ARCHITECTURES)
            near = did_you_mean(self.machine, ARCHITECTURES)
            raise ConfigError(
                f"--device {address!r}: {self.machine!r} cannot be emulated{near}; there is {known}"
            )
        self._architecture = ARCHITECTURES[self.machine]
        self._say = say
        self._emulator = ""
        self._system = Path()
        self._sites: dict[str, Path] = {}
        self._work: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> EmulatedRunner:
        emulator = shutil.which(self._architecture.emulator)
        if emulator is None:
            raise DeviceError(
                f"{self.name}: there is no {self._architecture.emulator} here: "
                f"apt-get install {self._architecture.package}"
            )
        self._emulator = emulator
        try:
            self._system = system(self.machine, self._say)
        except DeviceError as exc:
            raise DeviceError(f"{self.name}: {exc}") from exc
        self._work = tempfile.TemporaryDirectory(prefix="edgeprune-emulated-")
        write_package(Path(self._work.name) / "edgeprune.zip")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._work:
            self._work.cleanup()

    def python(self, *needs: str) -> str:
        """Return the architecture's Python; from then on it imports numpy and the modules `needs`.

        Raises:
            DeviceError: a runtime has no wheel there that is known to work, or it cannot be fetched.
        """
        backends = modules_of(one.name for one in all_backends())
        names = ("numpy", *(backends[module] for module in needs))
        wheels = wheels_for(self.machine)
        if unknown := [name for name in names if name not in wheels]:
            known = ", ".join(name for name in wheels if name != "numpy")
            raise DeviceError(f"{self.name}: {unknown[0]} cannot be emulated, only {known}")
        for name in names:
            if name not in self._sites:
                try:
                    self._sites[name] = site(self.machine, name, self._say)
                except DeviceError as exc:
                    raise DeviceError(f"{self.name}: {exc}") from exc
        return str(self._system / "usr" / "bin" / f"python{PYTHON}")

    def run(
        self, args: Sequence[str], timeout: float, on_line: Callable[[str], None] | None = None
    ) -> Completed:
        """Run an executable of the architecture to its end, as `LocalRunner` does; nothing of this machine's
        environment variables reaches it.

        Raises:
            DeviceError: it could not be started, timed out, was killed by a signal or exited other than 0.
        """
        package = [f"{self._work.name}/edgeprune.zip"] if self._work else []
        variables = {
            "PYTHONPATH": ":".join((*package, *map(str, self._sites.values()))),
            "PYTHONNOUSERSITE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LANG": "C.UTF-8",
        }
        emulator = (self._emulator, "-cpu", self._architecture.processor, "-L", str(self._system))
        return run_process(self.name, args, timeout, on_line, before=emulator, variables=variables)

    def describe(self) -> dict[str, Any]:
        """Return what is emulated, by what, and the versions of all that runs on it, as JSON-like data."""
        told = subprocess.run(
            [self._emulator, "--version"], capture_output=True, text=True, check=False
        ).stdout
        version = re.search(r"version (\S+)", told)
        return {
            "address": self.name,
            "machine": self.machine,
            "processor": self._architecture.processor,
            "emulator": f"{self._architecture.emulator} {version[1] if version else 'of unknown version'}",
            "packages": contents(self._system)["packages"],
            "wheels": [wheel for place in self._sites.values() for wheel in contents(place)["wheels"]],
        }
