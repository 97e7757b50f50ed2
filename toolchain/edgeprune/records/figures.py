"""The figures of a scenario as a result holds them: stages, frames a second, minutes, growth of memory.

`bench/derived.py` and `bench/leak.py` make them of the blocks.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A part of a job or of a result: frozen, and what it does not know it refuses."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stages(Record):
    """Median milliseconds of each stage around one query; None where there is none, or nothing tells it."""

    pre: float | None = None
    h2d: float | None = None
    compute: float | None = None
    d2h: float | None = None
    post: float | None = None


class Fps(Record):
    """Frames a second.

    Attributes:
        achieved: completed queries over elapsed time.
        target: the camera's rate, of `paced` only.
        deadline_miss_pct: percent of the camera's frames without outputs when the next one came.
    """

    achieved: float
    target: float | None = None
    deadline_miss_pct: float | None = None


class Minute(Record):
    """One minute of a `sustained` run.

    Attributes:
        minute: 1 for the first; the last one is half a minute to one and a half.
        p50_ms: None where no query ended in it.
        rss_mb, pss_mb: median resident memory, MB of 1e6 bytes; None where it could not be read.
    """

    minute: int
    n: int
    p50_ms: float | None
    rss_mb: float | None
    pss_mb: float | None


class Growth(Record):
    """How resident memory changes in a `sustained` run; see `bench/leak.py` for the rule.

    Attributes:
        mb_per_minute: Theil-Sen slope, MB of 1e6 bytes; `lower` and `upper` are its 99 % bounds.
        leak: None where the samples are too few to judge.
    """

    n: int
    mb_per_minute: float
    lower: float
    upper: float
    leak: bool | None
