"""A/A runs: what they say, that later checks are held to them, and when they no longer count."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from edgeprune.core.errors import ConfigError, InconclusiveError
from edgeprune.gate.aa import OLDEST, AARun, find_aa, run_aa, save_aa
from edgeprune.gate.run import Rules, run_gate
from simulated import Machine, make_job


def _aa(machine: Machine, pairs: int = 20) -> AARun:
    return run_aa(make_job("a"), pairs, machine)


def _check(machine: Machine, folder: Path, tau: float | None = None) -> Any:
    return run_gate(make_job("a"), make_job("b"), Rules(tau, aa_folder=folder), machine)


def test_the_least_tau_is_twice_the_95th_percentile_of_what_equal_sides_differ_by(make_block: Any) -> None:
    run = _aa(Machine(make_block, noise=0.02, a=10.0), 200)
    # |d| of two medians with 2 % noise each: half normal, 95 % of it within 1.96 * sqrt(2) * 2 %.
    assert run.p95 == pytest.approx(1.96 * 2**0.5 * 0.02, rel=0.2)
    assert run.least_tau == 2 * run.p95
    assert run.least_tau <= float(run.least_written) < run.least_tau + 1e-4
    assert (run.pairs, run.disturbed) == (200, 0)


def test_a_later_check_is_held_to_the_kept_run(make_block: Any, tmp_path: Path) -> None:
    noisy = _aa(Machine(make_block, noise=0.05, a=10.0, b=10.0))
    save_aa(noisy, tmp_path)
    quiet = Machine(make_block, noise=0.001, a=10.0, b=10.0)
    with pytest.raises(ConfigError, match=f"asks for at least --tau {noisy.least_written}"):
        _check(quiet, tmp_path)  # the default of 5 % is too fine there, too
    assert quiet.calls == []
    assert _check(quiet, tmp_path, float(noisy.least_written)).verdict == "pass"


def test_a_fine_tau_is_earned_once_and_kept(make_block: Any, tmp_path: Path) -> None:
    machine = Machine(make_block, noise=0.001, a=10.0, b=10.0)
    assert _check(machine, tmp_path, 0.03).verdict == "pass"
    first = len(machine.calls)
    machine.calls.clear()
    assert _check(machine, tmp_path, 0.03).verdict == "pass"
    assert (first, len(machine.calls)) == (2 * (10 + 6), 2 * 6)


@pytest.mark.parametrize(
    "key", ["device", "runtime version", "provider", "precision", "threads", "input shape"]
)
def test_a_run_of_another_machine_or_runtime_does_not_count_and_is_named(
    make_block: Any, tmp_path: Path, key: str
) -> None:
    run = _aa(Machine(make_block, noise=0.05, a=10.0, b=10.0))
    save_aa(run.model_copy(update={"identity": run.identity | {key: "other"}}), tmp_path)
    result = _check(Machine(make_block, a=10.0, b=10.0), tmp_path)
    assert result.verdict == "pass"
    assert f"is of another {key} (other) and not counted" in result.notes[0]


def test_a_run_of_another_engine_is_nothing_to_speak_of(make_block: Any, tmp_path: Path) -> None:
    save_aa(run_aa(make_job("other"), 6, Machine(make_block, noise=0.05, other=10.0)), tmp_path)
    assert _check(Machine(make_block, a=10.0, b=10.0), tmp_path).notes == ()


def test_a_run_that_is_too_old_does_not_count_and_says_so(make_block: Any, tmp_path: Path) -> None:
    run = _aa(Machine(make_block, noise=0.05, a=10.0, b=10.0))
    save_aa(run.model_copy(update={"started_utc": run.started_utc - OLDEST - timedelta(days=1)}), tmp_path)
    result = _check(Machine(make_block, a=10.0, b=10.0), tmp_path)
    assert "is 31 days old and not counted" in result.notes[0]


@pytest.mark.parametrize("text", ["", "{}", "garbage", "\x00"])
def test_a_kept_run_that_cannot_be_read_does_not_count(make_block: Any, tmp_path: Path, text: str) -> None:
    run = _aa(Machine(make_block, a=10.0), 6)
    save_aa(run, tmp_path).write_text(text, encoding="utf-8")
    found, note = find_aa(tmp_path, run.engine_sha256, run.identity)
    assert found is None and "cannot be read" in note


def test_a_machine_that_is_never_quiet_gives_no_run(make_block: Any) -> None:
    machine = Machine(make_block, a=10.0)
    machine.disturb = 10_000
    with pytest.raises(InconclusiveError, match=r"11 of 11 pairs were disturbed \(contended\)"):
        _aa(machine)
