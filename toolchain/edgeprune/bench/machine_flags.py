"""Flags from the machine's own sensors: heat, clocks, unlike cores, a charger, a compiler at work.

The codes are those of section 3 of the measurement protocol (`docs/measurement.md`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeprune.records.bench_result import Flag
from edgeprune.worker.affinity import unlike
from edgeprune.worker.sensors.android import THERMAL_STATUS
from edgeprune.worker.sensors.nvidia import slowdown_words
from edgeprune.worker.sensors.throttling import newly_set, pi_words


def invalid(code: str, evidence: str) -> Flag:
    """Return a flag that makes a run unfit to be gated."""
    return Flag(code=code, severity="invalid", evidence=evidence)


def warning(code: str, evidence: str) -> Flag:
    """Return a flag that makes a run less certain."""
    return Flag(code=code, severity="warning", evidence=evidence)


def find_throttling(
    env_before: Mapping[str, Any], env_after: Mapping[str, Any], telemetry: Sequence[Mapping[str, Any]] = ()
) -> Iterator[Flag]:
    """Yield a flag for each sensor that saw the device slow itself down during the run.

    Counters and the Raspberry Pi's bits since boot tell of it by their difference, the others by any sample.
    """
    before, after = env_before.get("throttle_events"), env_after.get("throttle_events")
    if before is not None and after is not None and after > before:
        yield invalid("throttled", f"the cores were throttled for heat {after - before} times")
    if bits := _pi_bits(env_before, env_after, telemetry):
        yield invalid(
            "throttled", f"get_throttled: bits {bits:#x} were set during the run ({pi_words(bits)})"
        )
    events = env_before.get("overcurrent_events") or {}
    for event, count in (env_after.get("overcurrent_events") or {}).items():
        if event in events and count > events[event]:
            yield invalid(
                "throttled", f"over-current event {event} throttled the module {count - events[event]} times"
            )
    worst = max((_android(env).get("thermal_status") or 0 for env in (env_before, env_after)), default=0)
    if worst:
        name = THERMAL_STATUS[worst] if worst < len(THERMAL_STATUS) else "unknown"
        yield invalid("throttled", f"Android's thermal status is {worst} ({name})")
    if bits := _gpu_slowdown(env_before, env_after, telemetry):
        yield invalid("throttled", f"the GPU lowered its clock: {slowdown_words(bits)}")


def _pi_bits(
    env_before: Mapping[str, Any], env_after: Mapping[str, Any], telemetry: Sequence[Mapping[str, Any]]
) -> int:
    before = env_before.get("pi_throttled")
    later = [env_after, *((sample.get("throttle") or {}) for sample in telemetry)]
    bits = 0
    for state in later:
        bits |= newly_set(before, state.get("pi_throttled"))
    return bits


def _gpu_slowdown(
    env_before: Mapping[str, Any], env_after: Mapping[str, Any], telemetry: Sequence[Mapping[str, Any]]
) -> int:
    bits = 0
    for env in (env_before, env_after):
        for gpu in env.get("gpus") or ():
            bits |= gpu.get("slowdown") or 0
    for sample in telemetry:
        bits |= (sample.get("throttle") or {}).get("gpu_slowdown") or 0
    return bits


def _android(env: Mapping[str, Any]) -> Mapping[str, Any]:
    return env.get("android") or {}


def clocks(env: Mapping[str, Any]) -> Iterator[Flag]:
    """Yield flags for clocks that may change, and for cores in use that are not alike."""
    allowed = env.get("affinity") or ()
    frequency = {
        core: values for core, values in (env.get("frequency") or {}).items() if _number(core) in allowed
    }
    free = [
        core for core, values in frequency.items() if values["scaling_min_freq"] != values["scaling_max_freq"]
    ]
    if free:
        governors = sorted({str(frequency[core]["scaling_governor"]) for core in free})
        yield warning(
            "clocks_unlocked", f"governor {', '.join(governors)} may change the clock of {len(free)} cores"
        )
    yield from _jetson_clocks(env.get("jetson") or {})
    what, different = unlike(allowed, env)
    if len(different) > 1:
        yield warning("mixed_cores", f"the worker may run on cores of {what} {', '.join(different)}")


def _jetson_clocks(jetson: Mapping[str, Any]) -> Iterator[Flag]:
    """Yield a flag where a Jetson's GPU may change its clock, or `jetson_clocks` does not hold each."""
    gpu, mode = jetson.get("gpu") or {}, jetson.get("power_mode")
    at = f" in power mode {mode}" if mode else ""
    if gpu.get("min_freq") != gpu.get("max_freq"):
        yield warning(
            "clocks_unlocked",
            f"governor {gpu.get('governor')} may change the GPU's clock from {gpu.get('min_freq')} to "
            f"{gpu.get('max_freq')} Hz{at}; sudo jetson_clocks holds it",
        )
    elif jetson.get("clocks_locked") is False:
        yield warning("clocks_unlocked", f"jetson_clocks does not hold every clock{at}: sudo jetson_clocks")


def _number(core: str) -> int:
    return int(core.removeprefix("cpu"))


def charging(env_before: Mapping[str, Any], env_after: Mapping[str, Any]) -> Iterator[Flag]:
    """Yield a flag where a battery was being charged: that heats the device, and raises its power."""
    for env in (env_before, env_after):
        battery = _android(env).get("battery") or {}
        if battery.get("status") == "charging":
            chargers = ", ".join(battery.get("powered_by") or ()) or "an unknown charger"
            yield warning("charging", f"the battery charges by {chargers}, at {battery.get('level')} %")
            return
        names = [name for name, state in (env.get("batteries") or {}).items() if state == "Charging"]
        if names:
            yield warning("charging", f"{', '.join(names)} charges")
            return


def jit_cache_cold(env_before: Mapping[str, Any], env_after: Mapping[str, Any]) -> Iterator[Flag]:
    """Yield a flag where the driver compiled kernels during the run, and kept them for the next one."""
    before, after = env_before.get("jit_cache_bytes"), env_after.get("jit_cache_bytes")
    if after is not None and after > (before or 0):
        grown = (after - (before or 0)) / 1e6
        yield warning(
            "jit_cache_cold", f"the CUDA driver added {grown:.1f} MB of compiled kernels to its cache"
        )
