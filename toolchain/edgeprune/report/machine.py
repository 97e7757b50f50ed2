"""The machine of a build in words for people: what `worker.environment` recorded, without its raw numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from edgeprune.report.cells import plain
from edgeprune.worker.sensors.cgroup import bytes_of, cores_of

# The kernel writes the largest page-aligned number for "no limit".
_NO_LIMIT = 1 << 60
_FOLDERS = ("LD_LIBRARY_PATH", "LD_PRELOAD")
_ODD = (TypeError, ValueError, AttributeError, KeyError, IndexError, OverflowError, OSError)


def device_words(environment: Mapping[str, Any]) -> str:
    """Name the machine that was measured: its board, processor and count of cores; empty if not recorded."""
    cores = environment.get("cores")
    named = [environment.get("board"), environment.get("cpu") or environment.get("machine")]
    named += [f"{cores} core{'' if cores == 1 else 's'}" if cores else None]
    return ", ".join(plain(part) for part in named if part and isinstance(part, str))


def machine_facts(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return what was recorded of the machine, by a name for people; last, what it did not tell.

    What has another form than `read_environment` gives it is shown as it stands.
    """
    facts = {}
    for key, (name, words) in _SHOWN.items():
        value = environment.get(key)
        if value is None:
            continue
        try:
            said = words(value)
        except _ODD:
            said = plain(value)
        if said:
            facts[name] = said
    untold = [name for key, (name, _) in _SHOWN.items() if key in environment and name not in facts]
    if untold:
        facts["not told here"] = ", ".join(untold)
    return facts


def date_words(stamp: object) -> str:
    """Return an ISO date or seconds since 1970 as a date with minutes, in UTC."""
    try:
        when = (
            datetime.fromtimestamp(stamp, timezone.utc)
            if isinstance(stamp, int | float)
            else datetime.fromisoformat(str(stamp).replace("Z", "+00:00")).astimezone(timezone.utc)
        )
    except _ODD:
        return plain(stamp)
    return f"{when:%Y-%m-%d %H:%M} UTC"


def time_words(seconds: float) -> str:
    """Return a duration as people say it, such as ``10 min 11 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _cores(indexes: list[int]) -> str:
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def _limits(cgroup: Mapping[str, str | None]) -> str:
    cores, memory = cores_of(cgroup["cpu"]), bytes_of(cgroup["memory"])
    return (
        f"CPU {'unlimited' if cores >= _NO_LIMIT or cgroup['cpu'] is None else f'{cores:g} cores'}, "
        f"memory {'unlimited' if memory >= _NO_LIMIT else f'{memory / 1e9:.1f} GB'}"
    )


def _memory(kilobytes: Mapping[str, int]) -> str:
    def gigabytes(name: str) -> str:
        return f"{kilobytes[name] * 1024 / 1e9:.1f} GB"

    swap = gigabytes("SwapTotal") if kilobytes.get("SwapTotal") else "none"
    return f"{gigabytes('MemTotal')}, {gigabytes('MemAvailable')} of it free; swap: {swap}"


def _load(load: list[float]) -> str:
    return f"{load[0]:.2f}, {load[1]:.2f}, {load[2]:.2f} (means of 1, 5 and 15 minutes)"


def _clocks(frequency: Mapping[str, Mapping[str, str | None]]) -> str:
    governors = sorted({core["scaling_governor"] or "not told" for core in frequency.values()})
    least, most = ("scaling_min_freq", "scaling_max_freq")
    low = [int(core[least] or 0) for core in frequency.values() if core[least]]
    high = [int(core[most] or 0) for core in frequency.values() if core[most]]
    span = f", {min(low) / 1e6:.2f} to {max(high) / 1e6:.2f} GHz" if low and high else ""
    return f"governor {', '.join(governors)}{span}"


def _capacity(capacities: Mapping[str, str | None]) -> str:
    kinds = sorted({plain(value) for value in capacities.values()})
    return "all alike" if len(kinds) == 1 else f"unlike: {', '.join(kinds)}"


def _named(values: Mapping[str, object]) -> str:
    return ", ".join(f"{plain(name)}: {plain(value)}" for name, value in values.items() if value is not None)


def _heat(zones: Mapping[str, float]) -> str:
    name = max(zones, key=lambda zone: zones[zone])
    return f"hottest {zones[name]:.0f} °C ({plain(name)})"


def _gpus(gpus: list[Mapping[str, Any]]) -> str:
    return "; ".join(", ".join(plain(one[key]) for key in ("name", "driver") if one.get(key)) for one in gpus)


def _variables(variables: Mapping[str, str]) -> str:
    said = []
    for name, value in variables.items():
        count = len([part for part in str(value).split(":") if part])
        what = f"({count} entr{'y' if count == 1 else 'ies'})" if name in _FOLDERS else f"={plain(value)}"
        said.append(f"{plain(name)}{' ' if name in _FOLDERS else ''}{what}")
    return ", ".join(said) or "none set"


_SHOWN: dict[str, tuple[str, Callable[[Any], str]]] = {
    "board": ("board", plain),
    "cpu": ("processor", plain),
    "machine": ("architecture", plain),
    "cores": ("cores", plain),
    "affinity": ("cores allowed", _cores),
    "kinds": ("kinds of core", _named),
    "capacity": ("capacity of the cores", _capacity),
    "frequency": ("clocks", _clocks),
    "memory_kb": ("memory", _memory),
    "cgroup": ("limits of the container", _limits),
    "os": ("system", plain),
    "kernel": ("kernel", plain),
    "python": ("Python", plain),
    "time": ("read at", date_words),
    "load": ("load", _load),
    "thermal_c": ("temperature", _heat),
    "batteries": ("batteries", _named),
    "gpus": ("GPUs", _gpus),
    "jetson": ("Jetson", _named),
    "android": ("Android", _named),
    "variables": ("variables", _variables),
}
