"""Energy counters of a Google Pixel's supply rails, by its on-device power monitor (ODPM), through iio.

Each of its two PMICs measures eight rails. The driver writes ``t=<ms since boot>`` and a line a rail,
``CH<n>(T=<ms measured>)[<rail>], <uWs>`` (`energy_value_show` of drivers/iio/power/odpm.c in the Pixel's
kernel). Only root may read them (`adb root`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeprune.worker.sensors.files import ROOT, text_of

_TIME = re.compile(r"^t=(\d{1,18})$", re.MULTILINE)
_RAIL = re.compile(r"^CH\d{1,3}\(T=\d{1,18}\)\[([^\]\n]+)\], (\d{1,18})$", re.MULTILINE)


@dataclass(frozen=True)
class Meter:
    """What one PMIC has counted.

    Attributes:
        at_ms: when it was read, by its own clock: it answers again what it has just told.
        energy_uj: by rail.
    """

    at_ms: int
    energy_uj: Mapping[str, int]


def read_meters(root: Path = ROOT) -> dict[str, Meter] | None:
    """Return the counters of each monitor by its name, such as ``s2mpg10-odpm``; None where there is none."""
    meters = {}
    for device in sorted((root / "sys/bus/iio/devices").glob("iio:device*")):
        name = text_of(device / "name") or ""
        meter = parse_energy(text_of(device / "energy_value")) if name.endswith("-odpm") else None
        if meter is not None:
            meters[name] = meter
    return meters or None


def parse_energy(text: str | None) -> Meter | None:
    """Return what an ``energy_value`` tells; None for any other text."""
    time = _TIME.search(text or "")
    rails = {rail: int(energy) for rail, energy in _RAIL.findall(text or "")}
    return Meter(int(time[1]), rails) if time and rails else None


def mean_w(before: Meter, after: Meter) -> dict[str, float]:
    """Return the mean watts of each rail between two readings, the second of them later.

    A channel that was given another rail in between begins to count anew, and is left out.
    """
    seconds = (after.at_ms - before.at_ms) / 1e3
    spent = {
        rail: energy - before.energy_uj[rail]
        for rail, energy in after.energy_uj.items()
        if rail in before.energy_uj
    }
    return {rail: microjoules / 1e6 / seconds for rail, microjoules in spent.items() if microjoules >= 0}
