"""One entry of the history: a result as it was written, the commit it belongs to, and what it is found by."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from edgeprune.history import Metric

UNITS: dict[Metric, str] = {"p50": "ms", "fps": "1/s", "memory": "MB", "accuracy": ""}


class Series(NamedTuple):
    """What has to be equal for two entries to be points of one curve."""

    name: str
    kind: str
    machine: str
    backend: str
    precision: str
    threads: int
    scenario: str


class Entry(BaseModel):
    """One result in the history.

    Attributes:
        id: the run and the row, or a digest of the content: the same result never counts twice.
        machine: processor and architecture, as the worker read them.
        commit_sha: commit that was measured, with ``-dirty`` where the working folder held changes.
        committed_utc: when that commit was made, ISO 8601; points of a series are ordered by it.
        p50_ms, fps, peak_mb: derived from `document` when it was added, so that they can be queried.
        accuracy: on the split that the build chooses by; None where no build has measured it.
        document: the result file, whole, as JSON text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    kind: Literal["bench", "check"]
    name: str
    machine: str
    backend: str
    backend_version: str | None
    precision: str
    threads: int
    scenario: str
    started_utc: str
    commit_sha: str | None = None
    branch: str | None = None
    committed_utc: str | None = None
    valid: bool
    p50_ms: float | None = None
    fps: float | None = None
    peak_mb: float | None = None
    accuracy: float | None = None
    accuracy_metric: str | None = None
    document: str

    @property
    def series(self) -> Series:
        """The curve that this entry is a point of."""
        return Series(*(getattr(self, field) for field in Series._fields))

    @property
    def when(self) -> str:
        """What orders the entries of a series: the commit's time, or the run's where there is no commit."""
        return self.committed_utc or self.started_utc

    def value(self, metric: Metric) -> float | None:
        """Return a number of the entry, None where it was not measured."""
        values = {"p50": self.p50_ms, "fps": self.fps, "memory": self.peak_mb, "accuracy": self.accuracy}
        return values[metric]
