"""What blocks and samples say beside latency: FPS, minutes, growth of memory, the median cold start, heat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprune.bench.leak import growth_of
from edgeprune.bench.statistics import achieved_fps
from edgeprune.records.bench_result import Block, Cold
from edgeprune.records.figures import Fps, Growth, Minute
from edgeprune.worker.sensors import thermal

_MINUTE_NS = 60e9
_KB = 1024 / 1e6  # MB


def fps_of(blocks: Sequence[Block], target: float | None = None, batch: int = 1) -> Fps | None:
    """Return the achieved rate, in images, beside the camera's; None where nothing was timed."""
    if not blocks:
        return None
    frames = sum(block.frames or 0 for block in blocks)
    missed = sum(block.missed or 0 for block in blocks)
    return Fps(
        achieved=achieved_fps(blocks, batch),
        target=target,
        deadline_miss_pct=100 * missed / frames if frames else None,
    )


def minutes_of(block: Block) -> tuple[Minute, ...]:
    """Return each minute of a sustained block; a query belongs to the minute that it began in.

    What is left over of less than half a minute belongs to the last whole one.
    """
    count = max(1, round(block.elapsed_ns / _MINUTE_NS))
    samples = np.asarray(block.samples_ns)
    of_query = _minute_of(block.starts_ns, count)
    of_reading = _minute_of([row[0] for row in block.resident], count)
    minutes = []
    for minute in range(count):
        chosen = samples[of_query == minute]
        readings = [block.resident[index] for index in np.flatnonzero(of_reading == minute)]
        pss = [row[2] for row in readings if row[2] is not None]
        minutes.append(
            Minute(
                minute=minute + 1,
                n=len(chosen),
                p50_ms=float(np.median(chosen)) / 1e6 if len(chosen) else None,
                rss_mb=float(np.median([row[1] for row in readings])) * _KB if readings else None,
                pss_mb=float(np.median(pss)) * _KB if pss else None,
            )
        )
    return tuple(minutes)


def _minute_of(times_ns: Sequence[int], count: int) -> npt.NDArray[np.intp]:
    return np.minimum(np.asarray(times_ns) // _MINUTE_NS, count - 1).astype(np.intp)


def resident_growth(block: Block) -> Growth | None:
    """Judge the resident memory of a sustained block; see `leak.py`."""
    return growth_of(
        [row[0] / _MINUTE_NS for row in block.resident], [row[1] * _KB for row in block.resident]
    )


def median_cold(runs: Sequence[Cold]) -> Cold:
    """Return the median of each time over the processes."""
    compiles = [run.compile for run in runs if run.compile is not None]
    return Cold(
        load=float(np.median([run.load for run in runs])),
        first_infer=float(np.median([run.first_infer for run in runs])),
        compile=float(np.median(compiles)) if compiles else None,
    )


def hottest_c(telemetry: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the highest temperature of any sample and zone, degrees Celsius; None where none was told."""
    told = [thermal.hottest(sample.get("temp_c")) for sample in telemetry]
    return max((heat for heat in told if heat is not None), default=None)


def delegated_pct(actual: Mapping[str, Any], requested: str) -> float | None:
    """Return what per cent of the network the requested provider took, None where the runtime does not tell.

    Args:
        actual: `Session.actual`: ``nodes`` by provider, or ``delegated``, the share of operators.
    """
    nodes: Mapping[str, int] = actual.get("nodes") or {}
    if nodes:
        return 100 * nodes.get(requested, 0) / sum(nodes.values())
    share = actual.get("delegated")
    return None if share is None else 100 * float(share)
