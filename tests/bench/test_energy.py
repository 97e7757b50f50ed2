"""Energy of an inference: from samples of a real sensor over long enough, or none at all."""

from __future__ import annotations

from typing import Any

import pytest

from edgeprune.bench.effort import PROFILES
from edgeprune.bench.energy import energy_of

MS = 10.0  # of an inference


@pytest.fixture
def blocks(make_block):
    """Return three blocks of 20 s with 2 s between them."""
    return [make_block([MS] * 2000, t_start=100.0 + 22 * index) for index in range(3)]


def _samples(start: float, seconds: int, **power_w: float) -> list[dict[str, Any]]:
    told = {name.replace("__", "/"): watts for name, watts in power_w.items()}
    return [{"t": start + second, "power_w": told or None} for second in range(seconds)]


def test_energy_is_the_power_above_idle_by_the_time_of_an_inference(blocks) -> None:
    energy = energy_of(blocks, _samples(95, 80, ina3221__VDD_IN=9.0), _samples(50, 31, ina3221__VDD_IN=5.0))
    assert energy is not None
    assert energy.j_per_inf == pytest.approx((9 - 5) * MS / 1000)
    assert (energy.mean_w, energy.idle_w) == (9.0, 5.0)
    assert (energy.source, energy.rails, energy.hz) == ("ina3221", ("VDD_IN",), 1.0)


def test_only_samples_within_the_blocks_count(blocks) -> None:
    telemetry = _samples(95, 80, rapl__x=9.0)
    for sample in telemetry:
        inside = any(block.t_start + 1 <= sample["t"] <= block.t_start + 20 for block in blocks)
        sample["power_w"] = {"rapl/x": 9.0 if inside else 900.0}  # loading, checking, another's turn
    energy = energy_of(blocks, telemetry, _samples(50, 31, rapl__x=5.0))
    assert energy and energy.mean_w == 9.0


def test_rails_are_added_up_and_named(blocks) -> None:
    idle = _samples(0, 31, rapl__package=4.0, rapl__dram=1.0, nvml__0=10.0)
    energy = energy_of(blocks, _samples(95, 80, rapl__package=20.0, rapl__dram=2.0, nvml__0=30.0), idle)
    assert energy is not None
    assert (energy.mean_w, energy.idle_w) == (52.0, 15.0)
    assert (energy.source, energy.rails) == ("nvml+rapl", ("0", "dram", "package"))


@pytest.mark.parametrize(
    ("telemetry", "idle"),
    [
        ([], []),
        (_samples(95, 80), _samples(0, 31)),  # no sensor tells of power
        (_samples(95, 80, rapl__x=9.0), []),  # idle was not measured
        (_samples(95, 80, rapl__x=9.0), _samples(0, 29, rapl__x=5.0)),
        (_samples(95, 30, rapl__x=9.0), _samples(0, 31, rapl__x=5.0)),  # fewer than 30 s of them inside
        (_samples(95, 80, rapl__x=9.0), _samples(0, 31, nvml__0=5.0)),  # another sensor
    ],
)
def test_what_was_not_measured_for_long_enough_is_none(blocks, telemetry: Any, idle: Any) -> None:
    assert energy_of(blocks, telemetry, idle) is None


def test_a_rail_that_fell_silent_is_left_out(blocks) -> None:
    telemetry = _samples(95, 80, rapl__x=9.0, rapl__y=1.0)
    telemetry[20]["power_w"] = {"rapl/x": 9.0}
    energy = energy_of(blocks, telemetry, _samples(0, 31, rapl__x=5.0, rapl__y=1.0))
    assert energy and energy.rails == ("x",)


def test_a_standard_run_is_long_enough_and_a_quick_one_is_not() -> None:
    assert PROFILES["standard"].min_seconds >= 30 > PROFILES["quick"].min_seconds
