"""Temperatures: the kernel's thermal zones, or its hardware monitors where there are no zones."""

from __future__ import annotations

from pathlib import Path

from edgeprune.worker.sensors.files import ROOT, number_of, text_of

_COLDEST_C = -100.0  # a Tegra's zone that is switched off reads -256


def read_temperatures(root: Path = ROOT) -> dict[str, float] | None:
    """Return degrees Celsius by the zone's name and type, such as ``thermal_zone0 cpu-thermal``."""
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*"))
    told = {f"{zone.name} {text_of(zone / 'type') or ''}".strip(): number_of(zone / "temp") for zone in zones}
    found = _celsius(told)
    if found is None:
        found = _celsius(_monitors(root))
    return found


def hottest(temperatures: dict[str, float] | None) -> float | None:
    """Return the highest of the temperatures, or None when there are none."""
    return max(temperatures.values()) if temperatures else None


def _monitors(root: Path) -> dict[str, int | None]:
    told = {}
    for path in sorted((root / "sys/class/hwmon").glob("hwmon*/temp*_input")):
        stem = path.name.removesuffix("_input")
        label = text_of(path.with_name(f"{stem}_label")) or stem
        told[f"{path.parent.name} {text_of(path.with_name('name')) or ''} {label}"] = number_of(path)
    return told


def _celsius(told: dict[str, int | None]) -> dict[str, float] | None:
    found = {name: value / 1000 for name, value in told.items() if value is not None}
    return {name: value for name, value in found.items() if value > _COLDEST_C} or None
