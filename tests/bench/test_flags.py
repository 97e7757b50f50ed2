"""Every flag: raised by its evidence, silent on a quiet run and where nothing can be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeprune.bench.derived import delegated_pct
from edgeprune.bench.flags import derive_flags
from edgeprune.records.facts import RuntimeFacts
from edgeprune.records.figures import Growth, Minute


def flags_of(blocks: Any, backend: Any, *more: Any, **rest: Any) -> Any:
    return derive_flags(blocks, RuntimeFacts.model_validate(backend), *more, **rest)


BACKEND = {
    "provider_requested": "CPU",
    "provider_actual": "CPU",
    "precision_requested": "int8",
    "precision_actual": "int8",
}
STEADY = [10.0, 10.1, 9.9, 10.0] * 200
QUIET: dict[str, Any] = {"affinity": [0, 1], "throttle_events": 3, "pi_throttled": "throttled=0x50000"}


def _codes(blocks: list[Any], backend: dict[str, Any] | None = None, **env_after: Any) -> dict[str, str]:
    flags = flags_of(blocks, BACKEND | (backend or {}), QUIET, QUIET | env_after)
    assert all(flag.evidence for flag in flags)
    return {flag.code: flag.severity for flag in flags}


def test_a_quiet_run_has_no_flag(make_block) -> None:
    assert _codes([make_block(STEADY, steal=0.02, foreign=0.05, swapped_kb=0, output_ok=True)]) == {}


def test_what_cannot_be_read_is_not_held_against_a_run(make_block) -> None:
    assert flags_of([make_block(STEADY)], BACKEND, {}, {}) == ()


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("contended", {"steal": 0.11}),
        ("contended", {"foreign": 0.11}),
        ("swap", {"swapped_kb": 4}),
        ("output_mismatch", {"output_ok": False, "output_error": 0.5}),
        ("output_mismatch", {"output_ok": False, "output_error": None}),
    ],
)
def test_a_block_that_tells_of_trouble_is_invalid(make_block, code: str, changes: dict[str, Any]) -> None:
    assert _codes([make_block(STEADY, **changes)]) == {code: "invalid"}


def test_contention_is_judged_over_the_run_and_not_in_a_blink(make_block) -> None:
    quiet, busy = make_block(STEADY, foreign=0.0), make_block(STEADY, foreign=0.15)
    assert _codes([quiet, busy]) == {}
    assert "contended" not in _codes([make_block([10.0] * 50, foreign=0.5)])


def test_heat_is_a_difference_of_counters(make_block) -> None:
    block = make_block(STEADY)
    assert _codes([block], throttle_events=4) == {"throttled": "invalid"}
    assert _codes([block], pi_throttled="throttled=0x70000") == {"throttled": "invalid"}
    assert _codes([block], pi_throttled="throttled=0x50004") == {"throttled": "invalid"}


@pytest.mark.parametrize("what", ["provider", "precision"])
def test_a_fallback_is_named(make_block, what: str) -> None:
    assert _codes([make_block(STEADY)], {f"{what}_actual": "other"}) == {"fallback": "invalid"}


@pytest.mark.parametrize(
    ("nodes", "flagged"),
    [({"XNN": 9}, False), ({"XNN": 6, "CPU": 3}, True), ({"CPU": 9}, False), ({}, False), (None, False)],
)
def test_nodes_that_another_provider_took_are_a_warning(
    make_block, nodes: dict[str, int] | None, flagged: bool
) -> None:
    backend = BACKEND | {"provider_requested": "XNN", "provider_actual": "XNN", "provider_nodes": nodes}
    flags = {flag.code: flag for flag in flags_of([make_block(STEADY)], backend, {}, {})}
    assert ("partial_fallback" in flags) is flagged
    if flagged:
        assert flags["partial_fallback"].severity == "warning"
        assert flags["partial_fallback"].evidence == "XNN took 6 of 9 nodes, CPU 3"


@pytest.mark.parametrize(("left", "actual"), [({}, "XNNPACK"), ({"ADD": 9}, "CPU"), (None, "XNNPACK")])
def test_a_delegate_that_took_all_or_nothing_took_no_part(make_block, left: Any, actual: str) -> None:
    backend = {"provider_requested": "XNNPACK", "provider_actual": actual, "left": left, "delegated_pct": 0.0}
    assert "partial_fallback" not in _codes([make_block(STEADY)], backend)


def test_operators_that_a_delegate_left_are_a_warning(make_block) -> None:
    told = {"delegated": 0.8, "left": {"RESIZE": 2, "GATHER": 1}}
    backend = BACKEND | {
        "provider_requested": "XNNPACK",
        "provider_actual": "XNNPACK",
        "left": told["left"],
        "delegated_pct": delegated_pct(told, "XNNPACK"),
    }
    (flag,) = flags_of([make_block(STEADY)], backend, {}, {})
    assert (flag.code, flag.severity) == ("partial_fallback", "warning")
    assert flag.evidence == "XNNPACK took 80.0 % of the operators and left RESIZE 2, GATHER 1"


def test_a_run_that_slows_down_drifts_and_one_that_speeds_up_does_not(make_block) -> None:
    slope = list(np.linspace(10.0, 11.0, 800))
    assert _codes([make_block(slope)]) == {"drift": "invalid"}
    assert _codes([make_block(slope[::-1])]) == {}


def test_blocks_that_disagree_are_noisy(make_block) -> None:
    fast, slow = make_block([10.0] * 400), make_block([10.6] * 400)
    assert _codes([slow, fast]) == {"noisy": "warning"}


def test_too_few_samples_are_a_warning(make_block) -> None:
    assert _codes([make_block([10.0] * 128)]) == {"n_insufficient": "warning"}


def test_unlocked_clocks_and_mixed_cores_count_on_allowed_cores_only(make_block) -> None:
    free = {"scaling_min_freq": "1", "scaling_max_freq": "2", "scaling_governor": "schedutil"}
    locked = free | {"scaling_max_freq": "1"}
    env = {"affinity": [0, 1], "capacity": {"cpu0": "1024", "cpu1": "1024", "cpu2": "400"}}

    def codes(**changes: Any) -> set[str]:
        return {flag.code for flag in flags_of([make_block(STEADY)], BACKEND, env | changes, env)}

    assert codes(frequency={"cpu0": locked, "cpu2": free}) == set()
    assert codes(frequency={"cpu0": locked, "cpu1": free}) == {"clocks_unlocked"}
    assert codes(affinity=[0, 2]) == {"mixed_cores"}


def _minutes(*p50_ms: float | None) -> list[Minute]:
    return [
        Minute(minute=index + 1, n=9, p50_ms=ms, rss_mb=100.0, pss_mb=None) for index, ms in enumerate(p50_ms)
    ]


def test_heat_is_the_last_minute_beside_the_first(make_block) -> None:
    block = make_block(list(np.linspace(10.0, 11.0, 800)))  # the quarters differ, the minutes decide

    def codes(*p50_ms: float | None) -> list[str]:
        return [flag.code for flag in flags_of([block], BACKEND, {}, {}, _minutes(*p50_ms))]

    assert codes(10.0, 12.0, 10.4) == []
    assert codes(10.0, 10.0, 10.6) == ["drift"]
    assert codes(10.0) == ["drift"]
    assert codes(10.0, None) == []


@pytest.mark.parametrize(("leak", "flagged"), [(True, True), (False, False), (None, False)])
def test_a_leak_is_a_warning_with_its_slope(make_block, leak: bool | None, flagged: bool) -> None:
    growth = Growth(n=600, mb_per_minute=1.02, lower=0.98, upper=1.05, leak=leak)
    flags = flags_of([make_block(STEADY)], BACKEND, {}, {}, growth=growth)
    assert [(flag.code, flag.severity) for flag in flags] == ([("leak", "warning")] if flagged else [])
    if flagged:
        assert "1.02 MB a minute" in flags[0].evidence and "0.98" in flags[0].evidence


def test_cross_talk_is_a_mismatch_with_its_count(make_block) -> None:
    block = make_block(STEADY, output_ok=False, output_error=0.0, cross_talk=3, cross_talk_error=0.4)
    (flag,) = flags_of([block], BACKEND, {}, {})
    assert (flag.code, flag.severity) == ("output_mismatch", "invalid")
    assert flag.evidence.startswith("3 of 800 answers beside others") and "0.4" in flag.evidence


def test_a_cold_start_without_blocks_has_no_flag_of_theirs() -> None:
    assert flags_of((), BACKEND, QUIET, QUIET) == ()


Machine = Callable[..., dict[str, str]]


@pytest.fixture
def machine(make_block) -> Machine:
    """Return a function from what a machine told before, after and beside a steady run to its flags."""

    def flags(
        before: dict[str, Any], after: dict[str, Any] | None = None, telemetry: Any = ()
    ) -> dict[str, str]:
        after = before if after is None else after
        found = flags_of([make_block(STEADY)], BACKEND, before, after, telemetry=telemetry)
        return {flag.code: flag.evidence for flag in found}

    return flags


def test_heat_is_seen_by_every_sensor_and_told_with_its_number(machine: Machine) -> None:
    def phone(status: int | None) -> dict[str, Any]:
        return {"android": {"thermal_status": status}}

    assert machine(phone(0)) == machine(phone(None)) == machine({"android": None}) == {}
    assert machine(phone(0), phone(2)) == {"throttled": "Android's thermal status is 2 (moderate)"}
    events = {"overcurrent_events": {"oc1": 0, "oc3": 4}}
    assert machine(events) == {}
    assert machine(events, {"overcurrent_events": {"oc1": 0, "oc3": 9}}) == {
        "throttled": "over-current event oc3 throttled the module 5 times"
    }
    assert machine({"gpus": [{"slowdown": 0}]}) == {}
    assert machine({"gpus": [{"slowdown": 0}]}, {"gpus": [{"slowdown": 0x60}]}) == {
        "throttled": "the GPU lowered its clock: software thermal slowdown, hardware thermal slowdown"
    }


def test_heat_that_passed_before_the_end_is_in_the_telemetry(machine: Machine) -> None:
    pi = {"pi_throttled": "throttled=0x0"}
    cool, hot = (
        {"throttle": {"pi_throttled": "throttled=0x0"}},
        {"throttle": {"pi_throttled": "throttled=0x4"}},
    )
    assert machine(pi, pi, [cool, {"throttle": None}, {}]) == {}
    assert machine(pi, pi, [cool, hot, cool]) == {
        "throttled": "get_throttled: bits 0x4 were set during the run (throttled)"
    }
    assert "brake" in machine({}, {}, [{"throttle": {"gpu_slowdown": 0x80}}])["throttled"]


def test_an_unreadable_answer_of_a_sensor_is_no_flag(machine: Machine) -> None:
    assert (
        machine({"pi_throttled": "throttled=0x0"}, {"pi_throttled": 'error=1 error_msg="not registered"'})
        == {}
    )


def test_a_battery_that_charges_is_a_warning(machine: Machine) -> None:
    def phone(status: str) -> dict[str, Any]:
        return {"android": {"battery": {"status": status, "level": 84, "powered_by": ["USB"]}}}

    assert machine(phone("full")) == machine(phone("discharging")) == {}
    assert machine(phone("charging")) == {"charging": "the battery charges by USB, at 84 %"}
    assert machine({"batteries": {"BAT0": "Discharging"}}, {"batteries": {"BAT0": "Charging"}}) == {
        "charging": "BAT0 charges"
    }


def test_kernels_that_were_compiled_in_the_run_are_a_warning(machine: Machine) -> None:
    assert machine({"jit_cache_bytes": 5_000_000}) == {}
    assert machine({"jit_cache_bytes": None}) == {}
    assert machine({"jit_cache_bytes": None}, {"jit_cache_bytes": 2_500_000}) == {
        "jit_cache_cold": "the CUDA driver added 2.5 MB of compiled kernels to its cache"
    }


def test_a_jetsons_gpu_clock_and_a_hybrid_cpu_are_seen(machine: Machine) -> None:
    gpu = {"governor": "nvhost_podgov", "min_freq": "306000000", "max_freq": "612000000"}
    assert machine({"jetson": {"gpu": gpu}}) == {
        "clocks_unlocked": "governor nvhost_podgov may change the GPU's clock from 306000000 to 612000000 "
        "Hz; sudo jetson_clocks holds it"
    }
    held = {"gpu": gpu | {"min_freq": "612000000"}, "power_mode": "15W"}
    assert machine({"jetson": held}) == machine({"jetson": held | {"clocks_locked": True}}) == {}
    assert machine({"jetson": held | {"clocks_locked": False}}) == {
        "clocks_unlocked": "jetson_clocks does not hold every clock in power mode 15W: sudo jetson_clocks"
    }
    kinds = {"cpu14": "cpu_core", "cpu15": "cpu_core", "cpu16": "cpu_atom"}
    assert (
        machine({"affinity": [14, 15], "kinds": kinds, "capacity": {"cpu14": "1009", "cpu15": "1024"}}) == {}
    )
    assert machine({"affinity": [15, 16], "kinds": kinds}) == {
        "mixed_cores": "the worker may run on cores of kind cpu_atom, cpu_core"
    }
