"""Power of a machine by whatever tells it: energy counters (RAPL, ODPM), a Jetson's rails, NVIDIA's GPUs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeprune.worker.sensors import odpm, rails, rapl
from edgeprune.worker.sensors.files import ROOT


class PowerReader:
    """Reads the power again and again: a counter tells the mean since it was read before.

    Args:
        root: folder that the machine's files lie in.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._counters: dict[str, rapl.Counter] = {}
        self._counted_at = 0.0
        self._meters: dict[str, odpm.Meter] = {}
        self._metered: dict[str, dict[str, float]] = {}

    @property
    def counts(self) -> bool:
        """Whether there were counters at the last reading: the next one tells the power since."""
        return bool(self._counters or self._meters)

    def read(self, gpus: Sequence[Mapping[str, Any]], tegra: Mapping[str, Any] | None) -> dict[str, float]:
        """Return watts by sensor and rail, such as ``rapl/package-0``, nothing counted twice.

        Args:
            gpus: as `nvidia.read_gpus` gives them.
            tegra: what `tegrastats` last told: of its rails where they cannot be read themselves.
        """
        power = self._rapl_w() | self._odpm_w()
        if board := rails.read_rails_w(self._root):
            power |= {f"ina3221/{rail}": board[rail] for rail in rails.summands(board)}
        elif tegra and (told := tegra["rails_w"]):
            power |= {f"tegrastats/{rail}": told[rail] for rail in rails.summands(told)}
        return power | {
            f"nvml/{index}": gpu["power_w"] for index, gpu in enumerate(gpus) if gpu["power_w"] is not None
        }

    def _rapl_w(self) -> dict[str, float]:
        now, counters = time.monotonic(), rapl.read_counters(self._root) or {}
        power = {
            f"rapl/{rail}": rapl.spent_j(self._counters[rail], counter) / (now - self._counted_at)
            for rail, counter in counters.items()
            if rail in self._counters
        }
        self._counters, self._counted_at = counters, now
        return power

    def _odpm_w(self) -> dict[str, float]:
        for chip, meter in (odpm.read_meters(self._root) or {}).items():
            before = self._meters.setdefault(chip, meter)
            if meter.at_ms > before.at_ms:  # else it repeats itself, and the power is what it was
                self._meters[chip], self._metered[chip] = meter, odpm.mean_w(before, meter)
        return {f"odpm/{rail}": watts for told in self._metered.values() for rail, watts in told.items()}
