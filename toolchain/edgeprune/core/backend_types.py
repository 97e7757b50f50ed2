"""What the module of a runtime hands out: sessions, engines, counters of nodes, tools beside it.

Standard library only: it travels to the device with the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np


class Session(Protocol):
    """A loaded engine.

    Attributes:
        actual: what the runtime really uses, as evidence: ``provider``, ``precision``, ``threads`` and more.
        compile_ms: the part of loading that was compiling; None where the runtime does not tell it apart.
    """

    actual: dict[str, Any]
    compile_ms: float | None

    def __call__(self, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Run on float32 images of shape (n, 3, H, W) and return the outputs as arrays on the host."""
        ...


@runtime_checkable
class Staged(Protocol):
    """A session on a device with memory of its own, which tells the copies apart from the network."""

    def stages_ms(self, images: np.ndarray[Any, Any]) -> dict[str, float]:
        """Run once as a call does; return ``h2d``, ``compute`` and ``d2h`` in ms by the device's clock."""
        ...


class NodeCounter(Protocol):
    """A loaded engine whose runtime counts how long each node takes."""

    def __call__(self, images: np.ndarray[Any, Any]) -> object:
        """Run one inference on float32 images of shape (n, 3, H, W)."""
        ...

    def note(self) -> None:
        """Keep what the nodes of the last inference took, where the runtime does not keep it."""
        ...

    def nodes(self, count: int) -> list[dict[str, Any]]:
        """Return the nodes, each with the fields of `bench.node_times.NodeTime`.

        Args:
            count: inferences at the end that count; ``ms`` is the median over them.
        """
        ...


@dataclass(frozen=True)
class Recognised:
    """An engine that a runtime knows as its own, by what lies there and not by where it comes from.

    Attributes:
        engine: what `load` takes: a file, or the folder around it.
        precision: what it runs in, which is not always how its weights are stored. None where only the
            runtime reads such a file: it is asked in a process of its own, see `bench/answers.py`.
    """

    engine: Path
    precision: str | None


@dataclass(frozen=True)
class Placement:
    """Where the operators of an engine run.

    Attributes:
        processor: the accelerator, such as ``HTP``.
        taken: operators that it runs, of `operators` in all; what only marks where integers begin is no one.
        left: how many of each kind it leaves to the CPU.
    """

    processor: str
    taken: int
    operators: int
    left: Mapping[str, int]


@dataclass(frozen=True)
class Converter:
    """A converter whose packages fight ours: it runs in a virtual environment of its own.

    Attributes:
        pins: requirements for pip, each of one exact version; the first names the converter.
        purpose: what it is for, in a few words.
        script: run there with the program, the engine to write and further arguments; it imports nothing of
            edgeprune. A name in `converters/scripts/`, or a path.
        lone: those of `pins` that are installed last and without what they ask for, since the pins beside
            them stand in for that.
        proof: arguments of the script with which it fails if anything that it needs is missing; an
            installation ends with that.
    """

    pins: tuple[str, ...]
    purpose: str
    script: str
    lone: tuple[str, ...] = ()
    proof: tuple[str, ...] = ("--help",)


@dataclass(frozen=True)
class Figures:
    """What a vendor's tool says, in milliseconds and queries a second; None for what it does not say."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    mean: float | None = None
    min: float | None = None
    max: float | None = None
    fps: float | None = None


@dataclass(frozen=True)
class Tool:
    """A vendor's own benchmark.

    Attributes:
        name: its program, which is looked for on the PATH.
        get: how to get it.
        options: the command line after its name, from (engine, options of the runtime, threads, seconds).
        read: its output to figures.
        compares: which of its figures may be held against which of ours, and what differs.
    """

    name: str
    get: str
    options: Callable[[Path, Mapping[str, str], int, float], list[str]]
    read: Callable[[str], Figures]
    compares: str


@dataclass(frozen=True)
class Proof:
    """A build ahead of time that succeeded, without the device.

    Attributes:
        version: of what built it.
        capabilities: kinds of the device that it was built for, such as ``SM86``.
    """

    version: str
    capabilities: tuple[str, ...]


class Prover(Protocol):
    """A module that builds a model ahead of time, as a proof for a runtime that is only on the device.

    Attributes:
        NAME: what it is called; in lower case in the names of checks, stages and logs.
        WHY: what it is good for, in a few words.
    """

    NAME: str
    WHY: str
    HOW_TO_GET: str
    CAPABILITIES: tuple[str, ...]

    def version(self) -> str | None:
        """Return the version that is installed here, or None."""
        ...

    def prove(self, model: Path, log: Path) -> Proof:
        """Build an ONNX file; everything that the builder says goes to `log`.

        Raises:
            CompileError: it refuses the file, or it crashed.
        """
        ...
