"""The smallest slow-down that counts: what it is by default, and whether the device can tell so little."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeprune.bench.protocol import Progress
from edgeprune.gate.aa import AA_PAIRS, check_tau, find_aa, pair_with_itself, save_aa
from edgeprune.gate.pairs import Measure
from edgeprune.records.bench_result import Job

DEFAULT_TAU, LOCKED_TAU = 0.05, 0.03
# Providers that compute on the processor's cores. Any other one has a clock of its own.
_ON_CORES = frozenset({"CPU", "CPUExecutionProvider", "XNNPACK", "XnnpackExecutionProvider"})


def default_tau(env: Mapping[str, Any], provider: str) -> float:
    """Return 3 % where every clock that the engine runs by is known to be locked, else 5 %.

    These are the clocks of the cores in use, and of an engine on a Jetson's GPU that one's. The clock of
    another accelerator is never known to be locked: no sensor tells.

    Args:
        env: of `environment.read_environment`.
        provider: that the engine really runs by, as in `Session.actual`.
    """
    locked = _cores_locked(env) and (provider in _ON_CORES or _jetson_locked(env.get("jetson") or {}))
    return LOCKED_TAU if locked else DEFAULT_TAU


def _cores_locked(env: Mapping[str, Any]) -> bool:
    """Tell whether every core in use has a least frequency that is also its most."""
    frequency = env.get("frequency") or {}
    cores = [frequency.get(f"cpu{core}") for core in env.get("affinity") or ()]
    return bool(cores) and all(
        core is not None and core["scaling_min_freq"] and core["scaling_min_freq"] == core["scaling_max_freq"]
        for core in cores
    )


def _jetson_locked(jetson: Mapping[str, Any]) -> bool:
    """Tell whether a Jetson's GPU is held, by all that tells: `jetson_clocks --show` (root only), devfreq."""
    gpu = jetson.get("gpu") or {}
    least, most = gpu.get("min_freq"), gpu.get("max_freq")
    by_kernel = None if least is None or most is None else least == most
    told = [one for one in (jetson.get("clocks_locked"), by_kernel) if one is not None]
    return bool(told) and all(told)


def earn_tau(
    tau: float, baseline: Job, same: Mapping[str, Any], folder: Path | None, measure: Measure, say: Progress
) -> tuple[str, ...]:
    """Hold tau against the kept A/A run; a fine tau without one is earned by a run made now, and kept.

    Args:
        same: what an A/A run has to agree in to count, see `pairs.identity`.
        folder: where A/A runs are kept; None neither reads nor keeps any.

    Returns:
        What the reader of the verdict should know: why a run that is there does not count.

    Raises:
        ConfigError: tau is finer than the device can tell.
        InconclusiveError: the machine disturbed too many pairs of an A/A run that was needed.
    """
    run, note = (None, "") if folder is None else find_aa(folder, baseline.engine_sha256, same)
    if run is None and tau < DEFAULT_TAU:
        run = pair_with_itself(baseline, same, AA_PAIRS, measure, say)
        if folder is not None:
            save_aa(run, folder)
    if run is not None:
        check_tau(tau, run)
    return (note,) if note else ()
