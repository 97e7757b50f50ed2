"""What a result says of the tool, the engine, the runtime and the scenario. Older files lack what is None."""

from __future__ import annotations

from pydantic import Field

from edgeprune.records.figures import Record


class Tool(Record):
    """The edgeprune that measured, and its command line."""

    name: str = "edgeprune"
    version: str | None = None
    commit: str | None = None
    argv: tuple[str, ...] = ()


class BuiltOn(Record):
    """Where an engine was compiled."""

    device: str
    arch: str
    runtime: str


class EngineFacts(Record):
    """The engine that was measured.

    Attributes:
        parent: digest of the model that it was compiled from, where a build knows it.
        build_s: how long that took, in seconds.
    """

    path: str | None = None
    sha256: str | None = None
    precision: str | None = None
    parent: str | None = None
    built_on: BuiltOn | None = None
    build_s: float | None = None


class RuntimeFacts(Record):
    """What was asked of a runtime, and what it really used; None where nothing ran or nothing tells.

    Attributes:
        provider_nodes: how many nodes of the graph each provider took.
        delegated_pct: percent of the operators that the requested provider took.
        left: how many operators of each kind it left.
        quantized_ops: integer convolutions of the graph that ran.
        affinity: the cores that the worker was bound to.
        options, environment: of the profile for this precision, and chosen by measurement.
    """

    name: str | None = None
    version: str | None = None
    provider_requested: str | None = None
    provider_actual: str | None = None
    provider_nodes: dict[str, int] | None = None
    delegated_pct: float | None = None
    left: dict[str, int] | None = None
    precision_requested: str | None = None
    precision_actual: str | None = None
    quantized_ops: int | None = None
    threads: int | None = None
    streams: int | None = None
    affinity: tuple[int, ...] | None = None
    options: dict[str, str] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)


class InputFacts(Record):
    """The tensors that were rotated: how many, the shape of one, and the sha256 of all."""

    n: int
    shape: tuple[int, ...]
    sha256: str


class FileCache(Record):
    """Share of an engine's file in the page cache before and after it was dropped; None if nothing tells."""

    engine_cached_before: float | None = None
    engine_cached_after: float | None = None


class ScenarioFacts(Record):
    """What was measured, and on what.

    Attributes:
        batch: images of a query: latencies are of all of them, rates count each.
        timing_boundary: what a query's time begins and ends with.
        file_cache: of `cold`, of each process.
    """

    name: str | None = None
    fps_target: float | None = None
    batch: int = 1
    in_flight: int = 1
    inputs: InputFacts | None = None
    timing_boundary: str | None = None
    file_cache: tuple[FileCache, ...] | None = None
