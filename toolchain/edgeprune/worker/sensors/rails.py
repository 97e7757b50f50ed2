"""Power of a board's supply rails by its INA3221 and INA238 monitors (NVIDIA Jetson), through hwmon."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from edgeprune.worker.sensors.files import ROOT, number_of, text_of

UNCONNECTED = "NC"
# A rail that feeds the whole module or board: the others are parts of it.
_INPUTS = ("VIN", "VDD_IN", "POM_5V_IN")
# Jetson AGX Orin: the memory's rail is fed by VIN_SYS_5V0, so it would be counted twice.
_WITHIN_ANOTHER = ("VDDQ_VDD2_1V8AO",)


def read_rails_w(root: Path = ROOT) -> dict[str, float] | None:
    """Return the watts of each connected rail by its label, None where there is no such monitor.

    The INA3221's driver tells voltage (mV) and current (mA) of three channels, the INA238's power (uW):
    Documentation/hwmon/ina3221.rst and ina238.rst of the kernel.
    """
    rails: dict[str, float] = {}
    for monitor in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        chip = text_of(monitor / "name")
        if chip == "ina3221":
            rails |= _channels(monitor)
        elif chip == "ina238" and (power_uw := number_of(monitor / "power1_input")) is not None:
            rails["VIN"] = power_uw / 1e6
    return rails or None


def _channels(monitor: Path) -> Iterator[tuple[str, float]]:
    for channel in (1, 2, 3):
        label = text_of(monitor / f"in{channel}_label")
        millivolts = number_of(monitor / f"in{channel}_input")
        milliamperes = number_of(monitor / f"curr{channel}_input")
        if label not in {None, UNCONNECTED} and millivolts is not None and milliamperes is not None:
            yield label, millivolts * milliamperes / 1e6


def summands(rails: Iterable[str]) -> tuple[str, ...]:
    """Return the rails whose sum is the power of the module: its input rail alone, where there is one."""
    names = sorted(rails)
    for whole in _INPUTS:
        if whole in names:
            return (whole,)
    return tuple(name for name in names if name not in _WITHIN_ANOTHER)
