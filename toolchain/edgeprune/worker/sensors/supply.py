"""Batteries and mains of a machine that has them, by /sys/class/power_supply."""

from __future__ import annotations

from pathlib import Path

from edgeprune.worker.sensors.files import ROOT, text_of


def read_batteries(root: Path = ROOT) -> dict[str, str] | None:
    """Return the state of each battery, such as ``Charging`` or ``Discharging``; None without one."""
    states = {
        supply.name: text_of(supply / "status")
        for supply in sorted((root / "sys/class/power_supply").glob("*"))
        if text_of(supply / "type") == "Battery"
    }
    return {name: state for name, state in states.items() if state} or None
