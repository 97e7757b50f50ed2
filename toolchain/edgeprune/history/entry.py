"""One entry of the history: its commit, its numbers, its series, and the result as it was written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from edgeprune.history import Metric

UNITS: dict[Metric, str] = {"p50": "ms", "fps": "1/s", "memory": "MB", "accuracy": ""}


_NO_NUL = r"\A[^\x00]*\z"  # PostgreSQL keeps no such text
Word = Annotated[str, Field(pattern=_NO_NUL, max_length=4096)]


class Series(NamedTuple):
    """What has to be equal for two entries to be points of one curve."""

    name: str
    kind: str
    machine: str
    backend: str
    precision: str
    threads: int
    scenario: str
    batch: int

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads != 1 else ''}"
        batch = f" in batches of {self.batch}" if self.batch > 1 else ""
        return (
            f"{self.name}, {self.scenario}{batch}, {self.backend} {self.precision}, {threads}, {self.machine}"
        )


class Point(BaseModel):
    """One result in the history, without the document that it was read from.

    Attributes:
        id: the run and the row, or a digest of the content: the same result never counts twice.
        machine: processor and architecture, as the worker read them.
        commit_sha: commit that was measured, with ``-dirty`` where the working folder held changes.
        committed_utc: when that commit was made, ISO 8601; points of a series are ordered by it.
        batch: images of a query: `p50_ms` is of all of them, `fps` counts each.
        p50_ms, fps, peak_mb: derived from the document when it was added, so that they can be queried.
        accuracy: on the split that the build chooses by; None where no build has measured it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: Word
    kind: Literal["bench", "check"]
    name: Word
    machine: Word
    backend: Word
    backend_version: Word | None
    precision: Word
    threads: int = Field(ge=0, lt=1 << 31)
    scenario: Word
    batch: int = Field(default=1, ge=1, lt=1 << 31)
    started_utc: Word
    commit_sha: Word | None = None
    branch: Word | None = None
    committed_utc: Word | None = None
    valid: bool
    p50_ms: float | None = None
    fps: float | None = None
    peak_mb: float | None = None
    accuracy: float | None = None
    accuracy_metric: Word | None = None

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


class Entry(Point):
    """One result in the history, whole.

    Attributes:
        document: the result file as JSON text, with every sample: up to megabytes.
    """

    document: Annotated[str, Field(pattern=_NO_NUL)]


def select_points(
    points: Iterable[Point], series: Sequence[str] = (), branch: str | None = None
) -> list[Point]:
    """Return the points whose series, as it is written, holds every one of some texts, and of one branch.

    Args:
        branch: None takes all.
    """
    return [
        point
        for point in points
        if all(text in str(point.series) for text in series) and branch in (None, point.branch)
    ]
