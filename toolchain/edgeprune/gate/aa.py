"""A/A runs: pairs of the baseline with itself, which tell how small a slow-down a machine can tell apart.

Section 4 of `docs/measurement.md`. A run is kept in the user's cache folder and holds later checks of
the same engine on the same device to its tau, until it is too old.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from edgeprune.bench.protocol import Progress
from edgeprune.core.artifact import content_key
from edgeprune.core.documents import read_record
from edgeprune.core.errors import ConfigError, DataError
from edgeprune.core.files import write_text_atomically
from edgeprune.gate.pairs import Measure, add_pairs, identity, run_pair, select_undisturbed
from edgeprune.gate.result import Pair
from edgeprune.records.bench_result import Job

AA_PAIRS = 10
OLDEST = timedelta(days=30)
_SCHEMA_VERSION = 1


class AARun(BaseModel):
    """What pairs of one engine with itself said, with what they hold for.

    Attributes:
        identity: device, runtime, its version, provider, precision and the like (`pairs.identity`).
        pairs: how many counted; `disturbed` more did not.
        p95: 95th percentile of |log ratio of the p50 latencies|.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = _SCHEMA_VERSION
    started_utc: datetime
    identity: dict[str, Any]
    engine_sha256: str
    pairs: int
    disturbed: int
    p95: float

    @property
    def least_tau(self) -> float:
        """The smallest tau that is fair on this device: twice the 95th percentile."""
        return 2 * self.p95

    @property
    def least_written(self) -> str:
        """The smallest tau as `--tau` takes it, rounded up so that it is accepted."""
        return f"{math.ceil(self.least_tau * 1e4) / 1e4:g}"


def run_aa(baseline: Job, count: int, measure: Measure, on_progress: Progress | None = None) -> AARun:
    """Run pairs of an engine with itself.

    Args:
        count: pairs that have to count, at least 6.
        on_progress: called with (pairs finished, pairs in all, what comes next).

    Raises:
        InconclusiveError: the machine disturbed more than 10 pairs.
        CompileError: the engine's outputs are not those of its reference.
        DeviceError: a worker crashed, hung, or answered with garbage.
    """
    (report,) = measure([baseline], "memory")
    return pair_with_itself(baseline, identity(baseline, report), count, measure, on_progress)


def pair_with_itself(
    baseline: Job, same: Mapping[str, Any], count: int, measure: Measure, on_progress: Progress | None = None
) -> AARun:
    """Run the pairs of an A/A run of an engine whose identity is known; see `run_aa`."""
    say = on_progress or (lambda done, total, text: None)
    started = datetime.now(timezone.utc)
    pairs: list[Pair] = []
    add_pairs(
        pairs,
        count,
        lambda index: run_pair(baseline, baseline, index, measure),
        lambda counted, index: say(counted, count, f"pair {index + 1} of the baseline with itself"),
    )
    counted = select_undisturbed(pairs)
    return AARun(
        started_utc=started,
        identity=dict(same),
        engine_sha256=baseline.engine_sha256,
        pairs=len(counted),
        disturbed=len(pairs) - len(counted),
        p95=float(np.percentile([abs(pair.latency_log_ratio) for pair in counted], 95)),
    )


def check_tau(tau: float, run: AARun) -> None:
    """Refuse a tau that an A/A run says is too fine.

    Raises:
        ConfigError: naming the smallest tau that the device allows.
    """
    if tau < run.least_tau:
        raise ConfigError(
            f"tau {tau:.1%} is finer than the device can tell: the baseline against itself "
            f"({run.pairs} pairs, {run.started_utc:%Y-%m-%d}) asks for at least --tau {run.least_written}; "
            "lock the clocks, or repeat it on a quieter machine by --aa"
        )


def save_aa(run: AARun, folder: Path) -> Path:
    """Keep a run, atomically; the last one of an engine on a device replaces the one before."""
    path = _place(folder, run.engine_sha256, run.identity)
    write_text_atomically(path, run.model_dump_json(indent=1) + "\n")
    return path


def find_aa(folder: Path, engine_sha256: str, same: Mapping[str, Any]) -> tuple[AARun | None, str]:
    """Return the run that holds for an engine on a device, or None and why another one does not count.

    A run counts when engine and identity (`pairs.identity`) are the same,
    and when it is at most 30 days old. The sentence is empty where there is nothing to say.
    """
    path = _place(folder, engine_sha256, same)
    if path.is_file():
        run = _read(path)
        if run is None:
            return None, f"{path}: the A/A run there cannot be read and is not counted; repeat it by --aa"
        age = datetime.now(timezone.utc) - run.started_utc
        if age > OLDEST:
            return None, (
                f"the A/A run of {run.started_utc:%Y-%m-%d} is {age.days} days old and not counted; "
                "repeat it by --aa"
            )
        return run, ""
    others = [run for other in sorted(folder.glob(f"{engine_sha256[:16]}-*.json")) if (run := _read(other))]
    for run in others[:1]:
        key = next((key for key, value in same.items() if run.identity.get(key) != value), "device")
        return None, (
            f"the A/A run of {run.started_utc:%Y-%m-%d} is of another {key} ({run.identity.get(key)}) "
            "and not counted"
        )
    return None, ""


def _place(folder: Path, engine_sha256: str, same: Mapping[str, Any]) -> Path:
    return folder / f"{engine_sha256[:16]}-{content_key(dict(same) | {'engine': engine_sha256})}.json"


def _read(path: Path) -> AARun | None:
    try:
        run = read_record(AARun, path, DataError)
    except DataError:
        return None
    return run if run.schema_version == _SCHEMA_VERSION and run.started_utc.tzinfo else None
