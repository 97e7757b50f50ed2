"""Ways to reach a device: one module each, behind one protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol


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
    """

    name: str
    machine: str

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

    def pull(self, remote: str, local: Path) -> Path:
        """Copy a file from the device."""
        ...
