"""Recorded runs: replayed they give the same numbers, say so, and nothing that was not recorded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeprune.bench.effort import BenchProfile
from edgeprune.bench.placing import measure_subjects
from edgeprune.bench.subject import Subject, subjects_of
from edgeprune.core.errors import ConfigError, DeviceError, IncompleteError
from edgeprune.records.bench_result import BenchResult
from edgeprune.runners.devices import runner_for
from edgeprune.runners.local import LocalRunner
from edgeprune.runners.recording import CALLS, RECORDING, RecordingRunner

PLAN = BenchProfile(blocks=2, min_queries=40, min_seconds=0.02, warmup_s=0.0, warmup_cap_s=0.2)


def subjects(*engines: Path) -> list[Subject]:
    return [one for engine in engines for one in subjects_of(engine, "x86-ort")]


def measured(engines: list[Subject], runner: Any, threads: int = 1) -> list[BenchResult]:
    with runner:
        return measure_subjects(engines, threads, PLAN, runner, lambda done, total, text: None)


@pytest.fixture(scope="module")
def recorded(
    convnet: Path, convnet_int8: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[BenchResult]]:
    """Return a recording of two rows in turns, and the results that it was made with."""
    folder = tmp_path_factory.mktemp("recordings") / "two rows"
    results = measured(subjects(convnet, convnet_int8), RecordingRunner(LocalRunner(), folder))
    return folder, results


def test_a_replay_gives_the_recorded_samples_and_says_so(
    recorded: tuple[Path, list[BenchResult]], convnet: Path, convnet_int8: Path
) -> None:
    folder, results = recorded
    again = measured(subjects(convnet, convnet_int8), runner_for(f"replay://{folder}"))
    for one, other in zip(results, again, strict=True):
        assert [block.samples_ns for block in other.blocks] == [block.samples_ns for block in one.blocks]
        assert (other.memory, other.artifact, other.run_id) == (one.memory, one.artifact, one.run_id)
        assert one.replayed is None and other.replayed == other.started_utc
        (flag,) = (flag for flag in other.flags if flag.code == "replayed")
        assert flag.evidence == f"nothing was measured: recorded {other.replayed} on local"


def test_a_recording_from_before_the_workers_moved_is_replayed(
    recorded: tuple[Path, list[BenchResult]], convnet: Path, convnet_int8: Path, tmp_path: Path
) -> None:
    old = shutil.copytree(recorded[0], tmp_path / "old")
    calls = (old / CALLS).read_text()
    assert "edgeprune.worker.turns" in calls
    for now, before in (("turns", "turns"), ("benchmark", "worker"), ("telemetry", "telemetry")):
        calls = calls.replace(f"edgeprune.worker.{now}", f"edgeprune.bench.{before}")
    (old / CALLS).write_text(calls)
    again = measured(subjects(convnet, convnet_int8), runner_for(f"replay://{old}"))
    assert [result.run_id for result in again] == [result.run_id for result in recorded[1]]


def test_what_was_not_recorded_is_refused(
    recorded: tuple[Path, list[BenchResult]], convnet: Path, convnet_int8: Path
) -> None:
    address = f"replay://{recorded[0]}"
    for engines, threads in ((subjects(convnet), 1), (subjects(convnet, convnet_int8), 2)):
        with pytest.raises(DeviceError, match="this was not recorded: same engine, scenario, profile"):
            measured(engines, runner_for(address), threads)
    both = runner_for(address)
    with both, pytest.raises(DeviceError, match="this was not recorded so often"):
        for _ in range(2):
            measure_subjects(subjects(convnet, convnet_int8), 1, PLAN, both, lambda *said: None)


def test_a_failure_is_recorded_and_fails_again(convnet: Path, tmp_path: Path) -> None:
    class Broken(LocalRunner):
        def python(self, *needs: str) -> str:
            return "/bin/false"

    for runner in (RecordingRunner(Broken(), tmp_path / "r"), runner_for(f"replay://{tmp_path / 'r'}")):
        with pytest.raises(IncompleteError, match="exited with code 1"):
            measured(subjects(convnet), runner)


def test_a_run_that_was_interrupted_is_not_in_the_recording(convnet: Path, tmp_path: Path) -> None:
    class Interrupted(LocalRunner):
        def run(self, *_: Any, **__: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured(subjects(convnet), RecordingRunner(Interrupted(), tmp_path / "r"))
    with pytest.raises(DeviceError, match="this was not recorded"):
        measured(subjects(convnet), runner_for(f"replay://{tmp_path / 'r'}"))


def test_a_recording_is_never_written_over(recorded: tuple[Path, list[BenchResult]], convnet: Path) -> None:
    with pytest.raises(ConfigError, match="a recording is here already"):
        measured(subjects(convnet), RecordingRunner(LocalRunner(), recorded[0]))


def test_a_folder_without_a_recording_or_with_a_damaged_one_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="no recording of `bench --record` is here"),
        runner_for("replay://none"),
    ):
        pass
    (tmp_path / RECORDING).write_text("{}")
    (tmp_path / CALLS).write_text("")
    with pytest.raises(ConfigError, match="run_id: this key is required"), runner_for(f"replay://{tmp_path}"):
        pass
