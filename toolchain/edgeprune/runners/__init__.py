"""Ways to reach a device: one module each, behind one protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from edgeprune.core.errors import DeviceError


@dataclass(frozen=True)
class Completed:
    """A process that ran to its end on the device."""

    args: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class Runner(Protocol):
    """A device that runs processes and exchanges files. Raises `DeviceError`, never returns (ok, output).

    Attributes:
        name: what messages call it.
        machine: its architecture as `platform.machine` tells it, known once it is entered.
        emulated: whether another machine imitates it: what it computes counts, how long it takes does not.
    """

    name: str
    machine: str
    emulated: bool

    def __enter__(self) -> Runner: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def python(self, *needs: str) -> str:
        """Return the Python interpreter that runs the worker there: one that imports the modules `needs`."""
        ...

    def run(
        self, args: Sequence[str], timeout: float, on_line: Callable[[str], None] | None = None
    ) -> Completed:
        """Run a process to its end; a non-zero exit, a crash or a timeout raises `DeviceError`."""
        ...

    def push(self, local: Path) -> str:
        """Copy a file or folder to the device and return its path there."""
        ...

    def push_all(self, paths: Sequence[Path]) -> list[str]:
        """Copy files and folders as `push` does each: several at once cost a device less than one by one."""
        ...

    def pull(self, remote: str, local: Path) -> Path:
        """Copy a file from the device."""
        ...


def require_timed(runner: Runner) -> None:
    """Refuse to measure a latency where it would say nothing.

    Raises:
        DeviceError: the device is emulated.
    """
    if runner.emulated:
        raise DeviceError(
            f"{runner.name}: an emulated device has no latency worth measuring; `edgeprune bench` compares "
            "its outputs with this machine's, and a real device is timed by ssh://"
        )
