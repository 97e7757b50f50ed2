"""What is set on an NVIDIA Jetson: release, power mode, and the clocks of GPU and memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgeprune.worker.sensors.files import ROOT, Ask, number_of, said_by, text_of

_RELEASE = re.compile(r"R(\d+) \(release\), REVISION: ([\d.]+)")
_MODE = re.compile(r"NV Power Mode: *(\S+)")
_EMC = "sys/kernel/debug/bpmp/debug/clk/emc"  # root only
_GPU = ("governor", "min_freq", "max_freq", "cur_freq")
_CLOCKS = re.compile(r"MinFreq=(?P<least>\d+) MaxFreq=(?P<most>\d+)")


def read_jetson(root: Path = ROOT, ask: Ask = said_by) -> dict[str, Any] | None:
    """Return release, power mode, clocks (Hz) of GPU and memory, and the fan's pulse width; None elsewhere.

    Returns:
        ``l4t``, ``power_mode``, ``gpu`` (governor, min_freq, max_freq, cur_freq), ``emc`` (rate, max_rate,
        mrq_rate_locked), ``clocks_locked`` by `jetson_clocks --show` (root only) and ``fan_pwm`` (0-255).
    """
    told = text_of(root / "etc/nv_tegra_release")
    if told is None:
        return None
    return {
        "l4t": parse_release(told),
        "power_mode": parse_power_mode(ask("nvpmodel", "-q")),
        "gpu": _gpu_clock(root),
        "emc": {name: number_of(root / _EMC / name) for name in ("rate", "max_rate", "mrq_rate_locked")},
        "clocks_locked": parse_clocks_locked(ask("jetson_clocks", "--show")),
        "fan_pwm": _fan(root),
    }


def parse_release(text: str) -> str | None:
    """Return the version of Jetson Linux in /etc/nv_tegra_release, such as ``36.3.0``."""
    found = _RELEASE.search(text)
    return f"{found[1]}.{found[2]}" if found else None


def parse_power_mode(text: str | None) -> str | None:
    """Return the name of the power mode in the output of `nvpmodel -q`, such as ``MAXN``."""
    found = _MODE.search(text or "")
    return found[1] if found else None


def parse_clocks_locked(text: str | None) -> bool | None:
    """Return whether `jetson_clocks --show` holds every clock; None when it tells of none.

    The memory's clock keeps its range when it is held, and says so by ``FreqOverride=1``; a core that is
    switched off (``Online=0``) does not count.
    """
    held = [
        found["least"] == found["most"] or "FreqOverride=1" in line
        for line in (text or "").splitlines()
        if (found := _CLOCKS.search(line)) and "Online=0" not in line
    ]
    return all(held) if held else None


def _gpu_clock(root: Path) -> dict[str, str | None] | None:
    for place in sorted((root / "sys/class/devfreq").glob("*gpu*")):
        return {name: text_of(place / name) for name in _GPU}
    return None


def _fan(root: Path) -> int | None:
    for monitor in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if text_of(monitor / "name") == "pwmfan":
            return number_of(monitor / "pwm1")
    return None
