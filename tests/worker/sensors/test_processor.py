"""Cores, clocks, heat, throttling and other work, read on recorded devices."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.worker.sensors import contention, cpu, thermal, throttling
from recorded import Record, Recorded


def test_a_device_that_tells_nothing_is_unknown(nothing: Recorded) -> None:
    root = nothing.root
    assert cpu.read_model(root) is None
    assert cpu.read_cpu_flags(root) == frozenset()
    assert cpu.read_frequency(root) is None
    assert cpu.read_khz({0}, root) is None
    assert cpu.read_capacities(root) is None
    assert cpu.read_kinds(root) is None
    assert cpu.read_siblings(3, root) == {3}
    assert thermal.read_temperatures(root) is None
    assert thermal.hottest(None) is None
    assert throttling.read_core_events(root) is None
    assert throttling.read_pi_throttled(root, nothing.ask) is None
    assert throttling.read_overcurrent_events(root) is None
    assert contention.read_stolen_s(root) == {}
    assert contention.read_waited_s(root) is None


def test_the_clocks_of_a_snapdragon(recorded: Record) -> None:
    root = recorded("snapdragon-850").root
    clocks = cpu.read_frequency(root)
    assert clocks and clocks["cpu4"] == {
        "scaling_governor": "schedutil",
        "scaling_min_freq": "825600",
        "scaling_max_freq": "2841600",
        "scaling_cur_freq": "1920000",
        "cpuinfo_max_freq": None,  # this one was not recorded
    }
    assert cpu.read_khz({3, 4, 5}, root) == {"4": 1920000, "5": 1996800}
    capacities = cpu.read_capacities(root)
    assert capacities and [capacities[f"cpu{core}"] for core in (0, 7)] == ["377", "1024"]


def test_the_cpu_of_a_virtual_machine(recorded: Record) -> None:
    root = recorded("cloud-vm").root
    assert "Intel" in (cpu.read_model(root) or "")
    assert "avx512_vnni" in cpu.read_cpu_flags(root)


def test_the_kinds_of_a_hybrid_cpu(recorded: Record) -> None:
    kinds = cpu.read_kinds(recorded("alder-lake").root)
    assert kinds and kinds["cpu15"] == "cpu_core" and kinds["cpu16"] == "cpu_atom" and len(kinds) == 24


@pytest.mark.parametrize(
    ("text", "cores"),
    [("0-3,8", {0, 1, 2, 3, 8}), ("5", {5}), ("0,8\n", {0, 8}), ("", set()), (None, set()), ("3-1", set()),
     ("0-99999999", set()), ("-1", set()), ("all", set())],
)  # fmt: skip
def test_lists_of_cores(text: str | None, cores: set[int]) -> None:
    assert cpu.cores_in(text) == cores


@given(st.text(max_size=40))
def test_any_text_is_a_list_of_cores_or_none(text: str) -> None:
    assert all(core >= 0 for core in cpu.cores_in(text))


def test_temperatures_come_from_zones_and_else_from_monitors(recorded: Record, nothing: Recorded) -> None:
    assert thermal.read_temperatures(recorded("intel-laptop").root) == {"thermal_zone0 acpitz": 25.0}
    # A desktop without zones, as the k10temp driver names its files (Documentation/hwmon/k10temp.rst).
    for name, text in (("name", "k10temp"), ("temp1_label", "Tctl"), ("temp1_input", "45250")):
        nothing.write(f"/sys/class/hwmon/hwmon1/{name}", f"{text}\n")
    assert thermal.read_temperatures(nothing.root) == {"hwmon1 k10temp Tctl": 45.25}


def test_a_zone_that_is_switched_off_has_no_temperature(nothing: Recorded) -> None:
    for zone, kind, temperature in ((0, "CPU-therm", "41500"), (1, "CV0-therm", "-256000"), (2, "GPU", "x")):
        nothing.write(f"/sys/class/thermal/thermal_zone{zone}/type", kind)
        nothing.write(f"/sys/class/thermal/thermal_zone{zone}/temp", temperature)
    found = thermal.read_temperatures(nothing.root)
    assert found == {"thermal_zone0 CPU-therm": 41.5}
    assert thermal.hottest(found) == 41.5


def test_throttle_counters_are_summed_over_the_cores(recorded: Record) -> None:
    assert throttling.read_core_events(recorded("hot-server").root) == 231


def test_a_raspberry_pi_is_asked_by_its_file_or_its_program(recorded: Record) -> None:
    pi = recorded("raspberry-pi-5")
    assert throttling.read_pi_throttled(pi.root, pi.ask) == "throttled=0x0"
    pi.write("/sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n")
    assert throttling.read_pi_throttled(pi.root, pi.ask) == "50005"
    other = recorded("cloud-vm")
    other.said["vcgencmd get_throttled"] = "throttled=0x0"
    assert throttling.read_pi_throttled(other.root, other.ask) is None


@pytest.mark.parametrize(
    ("before", "after", "bits"),
    [
        ("throttled=0x0", "throttled=0x50000", 0x50000),
        ("throttled=0x50000", "throttled=0x50000", 0),  # since boot, not since the run began
        ("0x50000", "50005", 0x5),
        ("throttled=0x0", None, 0),
        ("error=1 error_msg=\"Command not registered\"", "throttled=0x4", 0),
    ],
)  # fmt: skip
def test_what_a_raspberry_pi_newly_reports(before: str | None, after: str | None, bits: int) -> None:
    assert throttling.newly_set(before, after) == bits


@given(st.integers(0, 0xFFFFF), st.integers(0, 0xFFFFF))
def test_only_news_of_a_raspberry_pi_count(before: int, after: int) -> None:
    news = throttling.newly_set(f"throttled={before:#x}", f"{after:x}")
    assert news & ~after == 0
    assert news & before & 0xF0000 == 0
    assert news & 0xF == after & 0xF


def test_the_bits_of_a_raspberry_pi_have_words() -> None:
    assert throttling.pi_words(0x50005) == "under-voltage, throttled"
    assert throttling.pi_words(0x80000) == "soft temperature limit"


def test_over_current_events_of_a_jetson(nothing: Recorded) -> None:
    # Files as the Jetson Linux Developer Guide names them.
    nothing.write("/sys/class/hwmon/hwmon4/oc1_event_cnt", "0\n")
    nothing.write("/sys/class/hwmon/hwmon4/oc3_event_cnt", "17\n")
    assert throttling.read_overcurrent_events(nothing.root) == {"oc1": 0, "oc3": 17}


def test_steal_and_waiting_of_a_virtual_machine(recorded: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    root = recorded("cloud-vm").root
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1})
    stolen = contention.read_stolen_s(root)
    assert stolen == {"cpu1": 45685 / os.sysconf("SC_CLK_TCK")}
    assert contention.read_waited_s(root) is not None
