"""What Android tells through its own programs: build, battery and charger, screen, thermal status."""

from __future__ import annotations

import re
from typing import Any

from edgeprune.worker.sensors.files import Ask, said_by, whole

# https://developer.android.com/reference/android/os/PowerManager#THERMAL_STATUS_NONE
THERMAL_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
# https://developer.android.com/reference/android/os/BatteryManager#BATTERY_STATUS_CHARGING
_BATTERY_STATUS = {1: "unknown", 2: "charging", 3: "discharging", 4: "not charging", 5: "full"}
_CHARGERS = ("AC", "USB", "Wireless", "Dock")
_TEMPERATURE = re.compile(r"Temperature\{mValue=(-?\d{1,9}(?:\.\d{1,9})?), mType=-?\d+, mName=([^,}]*)")


def read_android(ask: Ask = said_by) -> dict[str, Any] | None:
    """Return fingerprint, thermal status, battery and screen; None where the device is not an Android."""
    fingerprint = ask("getprop", "ro.build.fingerprint")
    if fingerprint is None:
        return None
    thermal = ask("dumpsys", "thermalservice")
    return {
        "fingerprint": fingerprint,
        "soc": ask("getprop", "ro.soc.model"),
        "thermal_status": parse_thermal_status(thermal),
        "temp_c": parse_temperatures(thermal),
        "battery": parse_battery(ask("dumpsys", "battery")),
        "screen": parse_screen(ask("dumpsys", "power")),
    }


def parse_thermal_status(text: str | None) -> int | None:
    """Return the status in the output of `dumpsys thermalservice`, an index of `THERMAL_STATUS`."""
    found = re.search(r"^\s*Thermal Status: (\d{1,3})\s*$", text or "", re.MULTILINE)
    return int(found[1]) if found else None


def parse_temperatures(text: str | None) -> dict[str, float] | None:
    """Return degrees Celsius by sensor; those read from the hardware replace the cached ones before them."""
    told = {name: float(value) for value, name in _TEMPERATURE.findall(text or "")}
    return told or None


def parse_battery(text: str | None) -> dict[str, Any] | None:
    """Return status, level (per cent), temperature (degrees Celsius) and chargers of `dumpsys battery`."""
    rows = dict(row.split(": ", 1) for row in map(str.strip, (text or "").splitlines()) if ": " in row)
    if "status" not in rows:
        return None
    level, tenths = whole(rows.get("level")), whole(rows.get("temperature"))
    return {
        "status": _BATTERY_STATUS.get(whole(rows["status"]) or 1, "unknown"),
        "level": level,
        "temp_c": None if tenths is None else tenths / 10,
        "powered_by": [name for name in _CHARGERS if rows.get(f"{name} powered") == "true"],
    }


def parse_screen(text: str | None) -> str | None:
    """Return the wakefulness in the output of `dumpsys power`, such as ``Awake`` or ``Asleep``."""
    found = re.search(r"^\s*mWakefulness=(\w+)", text or "", re.MULTILINE)
    return found[1] if found else None
