"""Energy of an inference, from the power that real sensors told during the timed loops.

Never from a rated power. It takes a job that is measured alone (of several in turns nobody can tell whose the
power was), the idle machine before it, and at least 30 s of samples of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeprune.records.bench_result import Block, Energy
from edgeprune.runners import Runner
from edgeprune.worker.telemetry import HZ, parse_samples

LEAST_WINDOW_S = 30.0
_IDLE_TIMEOUT_S = 120.0

Sample = Mapping[str, Any]


def measure_idle(
    runner: Runner, min_seconds: float, blocks: int = 1, begins: Callable[[], None] = lambda: None
) -> Sequence[Sample]:
    """Return samples of the device left alone for 30 s; none, at once, where no sensor tells of power.

    Args:
        min_seconds: of the run that follows: one that is too short for its energy needs no idle power.
        blocks: of that run; the first sample of each does not count.
        begins: called before it, unless the run is too short.

    Raises:
        DeviceError: the device could not be asked.
    """
    if min_seconds < LEAST_WINDOW_S + blocks / HZ:
        return []
    begins()
    module = "edgeprune.worker.telemetry"
    done = runner.run((runner.python(), "-m", module, "idle", str(LEAST_WINDOW_S)), _IDLE_TIMEOUT_S)
    return parse_samples(done.stdout)


def energy_of(blocks: Sequence[Block], telemetry: Sequence[Sample], idle: Sequence[Sample]) -> Energy | None:
    """Return the energy of an inference; None where it was not measured for long enough, or not at all.

    Only rails that both the idle and the busy samples tell are added up. A sample stands for the time since
    the one before it, so the first one in a block is left out.

    Args:
        telemetry: samples beside the blocks, in the order of time.
        idle: samples of the same device before the blocks.
    """
    busy = [sample for sample in telemetry if any(_within(sample["t"], block) for block in blocks)]
    rails = sorted(_rails(busy) & _rails(idle))
    inferences = sum(len(block.samples_ns) for block in blocks)
    if not rails or not inferences or min(len(busy), len(idle)) < LEAST_WINDOW_S * HZ:
        return None
    mean_w, idle_w = (_mean(samples, rails) for samples in (busy, idle))
    seconds = sum(block.elapsed_ns for block in blocks) / 1e9
    return Energy(
        j_per_inf=(mean_w - idle_w) * seconds / inferences,
        idle_w=idle_w,
        mean_w=mean_w,
        source="+".join(sorted({rail.partition("/")[0] for rail in rails})),
        rails=tuple(rail.partition("/")[2] for rail in rails),
        hz=HZ,
    )


def _within(t: float, block: Block) -> bool:
    return block.t_start + 1 / HZ <= t <= block.t_start + block.elapsed_ns / 1e9


def _rails(samples: Sequence[Sample]) -> set[str]:
    """Return the rails that every sample tells."""
    told = [set(sample.get("power_w") or ()) for sample in samples]
    return set.intersection(*told) if told else set()


def _mean(samples: Sequence[Sample], rails: Sequence[str]) -> float:
    powers = [float(sample["power_w"][rail]) for sample in samples for rail in rails]
    return sum(powers) / len(samples)
