"""A measurement that breaks off: what was finished is kept, and nobody can take it for whole."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from edgeprune.bench.effort import BenchProfile
from edgeprune.bench.partial import head
from edgeprune.bench.protocol import measure
from edgeprune.bench.scenario_runs import measure_setup
from edgeprune.bench.setup import Setup
from edgeprune.core.errors import DeviceError, IncompleteError
from edgeprune.records.bench_result import BenchResult, Job, load_result, save_result
from edgeprune.runners.local import LocalRunner
from edgeprune.worker.telemetry import SUFFIX, read_samples

PLAN = BenchProfile(
    blocks=3, min_queries=60, min_seconds=0.03, warmup_s=0.0, warmup_cap_s=0.2, timeout_s=120.0, cold_runs=3
)
DEATHS = {
    "crashes": ("import os; os.abort()", "killed by SIGABRT"),
    "is killed for memory": (
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "killed by SIGKILL (out of memory?)",
    ),
    "hangs": ("import time; time.sleep(600)", "no answer within 1 s, it was stopped"),
    "prints garbage": ("import sys; open(sys.argv[2], 'w').write('{]')", "answered with garbage"),
}


class FailsAt(LocalRunner):
    """This machine, whose process number `number` is another program than the worker, or ends in an error."""

    def __init__(self, number: int, code: str | Exception) -> None:
        self.number, self.code, self.runs = number, code, 0

    def run(self, args, timeout, on_line=None):
        self.runs += 1
        if self.runs < self.number:
            return super().run(args, timeout, on_line)
        if isinstance(self.code, Exception):
            raise self.code
        args = (sys.executable, "-c", self.code, *args[3:])
        return super().run(args, 1.0 if "sleep" in self.code else timeout, on_line)


def broken_off(
    jobs: list[Job], number: int, code: str | Exception
) -> tuple[IncompleteError, tuple[BenchResult, ...]]:
    with pytest.raises(IncompleteError) as caught:
        measure(jobs, PLAN, FailsAt(number, code))
    return caught.value, caught.value.results


@pytest.mark.parametrize("death", DEATHS)
def test_the_blocks_before_a_worker_that_dies_are_kept_and_marked(
    job: Job, death: str, tmp_path: Path
) -> None:
    code, says = DEATHS[death]
    error, (result,) = broken_off([job], 3, code)
    assert says in str(error) and error.exit_code == 4 and "\n" not in str(error)
    assert len(result.blocks) == 2 and len(result.blocks[0].samples_ns) >= 20
    assert not result.valid and result.flags[0].code == "incomplete"
    assert result.flags[0].evidence.startswith("2 of 3 processes had finished, no peak memory: ")
    assert says in result.flags[0].evidence
    written = save_result(result, tmp_path / "result.json")
    assert json.loads(written.read_text())["valid"] is False
    assert load_result(written) == result


class KilledInTheMiddle(LocalRunner):
    """This machine, whose worker is killed as soon as there is telemetry of it, in the second process."""

    runs = 0

    def run(self, args, timeout, on_line=None):
        self.runs += 1
        if self.runs < 2:
            return super().run(args, timeout, on_line)
        path = Path(args[-1] + SUFFIX)

        def end(line: str) -> None:
            if '"warmup"' in line:
                while not any(sample["rss_kb"] for sample in read_samples(path)):
                    os.sched_yield()
                raise DeviceError("local: python: killed by SIGKILL (out of memory?)")

        return super().run(args, timeout, end)


def test_the_telemetry_of_a_worker_that_is_killed_is_kept(job: Job) -> None:
    with pytest.raises(IncompleteError, match="SIGKILL") as caught:
        measure([job], PLAN, KilledInTheMiddle())
    (result,) = caught.value.results
    assert len(result.blocks) == 1
    ended = result.blocks[0].t_start + result.blocks[0].elapsed_ns / 1e9
    after = [sample for sample in result.telemetry if sample["t"] > ended]
    assert after and after[-1]["rss_kb"] > 1000


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (
            DeviceError("ssh://pi: cannot be reached: no route to host; 9 more tries failed"),
            "no route to host",
        ),
        (
            OSError(28, "No space left on device", "/tmp/x/job0.json"),
            "/tmp/x/job0.json: No space left on device",
        ),
    ],
)
def test_rows_in_turns_keep_the_rounds_before_a_lost_device_or_a_full_disk_here(
    job: Job, failure: Exception, says: str
) -> None:
    jobs = [job, job.model_copy(update={"name": "other"})]
    error, results = broken_off(jobs, 3, failure)
    assert says in str(error) and error.exit_code == 4
    assert [len(result.blocks) for result in results] == [2, 2]
    assert {flag.code for result in results for flag in result.flags} >= {"incomplete"}


def test_only_the_memory_of_a_row_can_be_lacking(job: Job) -> None:
    jobs = [job, job.model_copy(update={"name": "other"})]
    plan = BenchProfile(blocks=1, min_queries=20, min_seconds=0.01, warmup_s=0.0, warmup_cap_s=0.2)
    with pytest.raises(IncompleteError) as caught:
        measure(jobs, plan, FailsAt(3, DEATHS["crashes"][0]))
    first, second = caught.value.results
    assert first.memory is not None and second.memory is None
    assert first.flags[0].evidence.startswith("1 of 1 processes had finished: ")
    assert second.flags[0].evidence.startswith("1 of 1 processes had finished, no peak memory: ")


def test_a_row_of_which_nothing_finished_says_what_was_asked_and_no_number(job: Job, tmp_path: Path) -> None:
    _, (result,) = broken_off([job], 1, DEATHS["crashes"][0])
    assert result.blocks == () and result.memory is None and not result.valid
    assert result.backend.provider_actual is None and result.backend.threads == 1
    assert result.artifact.sha256 == job.engine_sha256
    assert load_result(save_result(result, tmp_path / "r.json")) == result


@pytest.mark.parametrize("scenario", ["cold", "throughput"])
def test_other_scenarios_keep_theirs_as_well(job: Job, scenario: Any) -> None:
    with pytest.raises(IncompleteError) as caught:
        measure_setup([job], Setup(scenario, in_flight=2), PLAN, FailsAt(3, DEATHS["crashes"][0]))
    (result,) = caught.value.results
    assert result.scenario.name == scenario and not result.valid
    assert len(result.cold_runs if scenario == "cold" else result.blocks) == 2


def test_a_result_keeps_the_command_and_not_the_password_in_it(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["edgeprune", "bench", "a:b@c.onnx", "--history"]
    monkeypatch.setattr(sys, "argv", [*command, "postgresql://ci:s3cr:t@db.local:5432/edgeprune"])
    told = head(job, "run", datetime.now(timezone.utc))["tool"].argv
    assert told == (*command, "postgresql://ci:***@db.local:5432/edgeprune")
