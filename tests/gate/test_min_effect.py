"""The smallest change that counts by default: finer only where the clocks are known to be locked."""

from __future__ import annotations

import pytest

from edgeprune.gate.min_effect import default_tau
from edgeprune.worker.sensors.jetson import read_jetson
from recorded import Record

LOCKED = {"affinity": [0], "frequency": {"cpu0": {"scaling_min_freq": "2000", "scaling_max_freq": "2000"}}}


@pytest.mark.parametrize(
    ("clocks", "tau"),
    [
        ({"cpu0": ("2000", "2000"), "cpu1": ("800", "2000")}, 0.03),
        ({"cpu0": ("800", "2000"), "cpu1": ("2000", "2000")}, 0.05),
        ({}, 0.05),
    ],
)
def test_the_default_tau_is_finer_only_where_the_clocks_of_the_cores_in_use_are_locked(
    clocks: dict[str, tuple[str, str]], tau: float
) -> None:
    frequency = {
        core: {"scaling_min_freq": low, "scaling_max_freq": high} for core, (low, high) in clocks.items()
    }
    assert default_tau({"affinity": [0], "frequency": frequency or None}, "CPUExecutionProvider") == tau


@pytest.mark.parametrize(
    ("board", "root", "gpu_hz", "tau"),
    [
        ("jetson-nano", True, (), 0.03),  # held by jetson_clocks, which says so
        ("jetson-nano", False, (), 0.05),  # only root is told, so nothing is known of the GPU
        ("jetson-orin-nano", True, (), 0.05),  # as it boots
        ("jetson-orin-nano", True, ("612000000", "612000000"), 0.05),  # the memory's clock is free
        ("jetson-orin-nano", False, ("306000000", "612000000"), 0.05),
        ("jetson-orin-nano", False, ("612000000", "612000000"), 0.03),
    ],
)
def test_on_a_jetsons_gpu_its_clock_counts_too(
    recorded: Record, board: str, root: bool, gpu_hz: tuple[str, ...], tau: float
) -> None:
    device = recorded(board)
    device.write("/etc/nv_tegra_release", "# R32 (release), REVISION: 7.1")
    if not root:
        del device.said["jetson_clocks --show"]
    for file, hz in zip(("min_freq", "max_freq"), gpu_hz, strict=False):
        device.write(f"/sys/class/devfreq/17000000.gpu/{file}", hz)
    env = LOCKED | {"jetson": read_jetson(device.root, device.ask)}
    assert default_tau(env, "TensorRT") == tau
    assert default_tau(env, "CPUExecutionProvider") == 0.03  # it computes on the cores, which are locked
    assert default_tau(env | {"frequency": None}, "TensorRT") == 0.05
