"""Many workers on one study: they share its trials, and one that dies takes no more than its own with it."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edgeprune.core.errors import CompileError, ConfigError, RuntimeMissingError
from edgeprune.search import study as subject
from edgeprune.search.study import join_study, open_storage, run_trials
from postgres_server import free_port

optuna = pytest.importorskip("optuna")
WORKER = Path(__file__).with_name("search_worker.py")
STATE = optuna.trial.TrialState


@pytest.fixture(autouse=True)
def quiet() -> None:
    subject.need_optuna()


def start_worker(url: str, trials: int, *options: str) -> subprocess.Popen[str]:
    args = [sys.executable, str(WORKER), url, "shared", str(trials), *options]
    return subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def work(url: str, trials: int, workers: int) -> list[list[int]]:
    """Let so many processes work on one study; return the numbers of the trials that each ran."""
    started = [start_worker(url, trials) for _ in range(workers)]
    said = [worker.communicate(timeout=120) for worker in started]
    assert [worker.returncode for worker in started] == [0] * workers, [error for _, error in said]
    assert not any(error for _, error in said)
    return [[int(line.split()[1]) for line in out.splitlines()] for out, _ in said]


def check_shared(url: str, ran: list[list[int]], trials: int) -> None:
    """Check that the study holds what its workers ran, each trial once, and the seeds among them."""
    study = optuna.load_study(study_name="shared", storage=open_storage(url))
    every = sorted(number for numbers in ran for number in numbers)
    assert every == list(range(len(every)))
    complete = study.get_trials(states=(STATE.COMPLETE,))
    assert [trial.number for trial in complete] == every
    assert trials <= len(every) < trials + len(ran)
    assert {0, 5, 10} <= {trial.params["x"] for trial in complete[:4]}


def test_several_workers_finish_one_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    ran = work(url, 12, workers=3)
    check_shared(url, ran, 12)
    assert work(url, 12, workers=1) == [[]]  # it is finished


def test_a_killed_worker_loses_its_trial_and_the_next_one_runs_it_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    work(url, 2, workers=1)
    doomed = start_worker(url, 9, "hang")
    assert doomed.stdout is not None and doomed.stdout.readline() == "in trial\n"
    doomed.send_signal(signal.SIGKILL)
    doomed.communicate(timeout=60)
    study = optuna.load_study(study_name="shared", storage=open_storage(url))
    assert [trial.state for trial in study.trials] == [STATE.COMPLETE, STATE.COMPLETE, STATE.RUNNING]
    with closing(sqlite3.connect(tmp_path / "study.db")) as database, database:
        # As if its last heartbeat were an hour ago, whether or not its thread came to write the first one.
        database.execute(
            "REPLACE INTO trial_heartbeats (trial_id, heartbeat) "
            "SELECT trial_id, datetime('now', '-1 hour') FROM trials WHERE state = 'RUNNING'"
        )
    (ran,) = work(url, 6, workers=1)
    study = optuna.load_study(study_name="shared", storage=open_storage(url))
    assert [trial.state for trial in study.trials if trial.number not in ran] == [
        STATE.COMPLETE, STATE.COMPLETE, STATE.FAIL,
    ]  # fmt: skip
    assert [trial.params for trial in study.trials].count({"x": 10}) >= 2  # the lost seed, and its second run
    assert len(study.get_trials(states=(STATE.COMPLETE,))) == 6


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://someone:secret@127.0.0.1:{port}/edgeprune", "does not answer: connection"),
        ("sqlite:////nowhere/at/all.db", "does not answer: unable to open database file"),
        ("nosuch://host/db", "no such kind of database"),
        ("just words", "not a database URL"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        open_storage(url.format(port=free_port()))
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_driver_and_a_missing_optuna_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeMissingError, match="driver is not installed"):
        open_storage("mysql+pymysql://127.0.0.1/db")
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RuntimeMissingError, match=r"pip install 'edgeprune\[search\]'"):
        subject.need_optuna()


def test_a_study_of_another_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/study.db")
    optuna.create_study(storage=storage, study_name="theirs")
    monkeypatch.setattr(subject, "PATIENCE_S", 0)
    with pytest.raises(ConfigError, match="theirs: a study that `edgeprune search` did not make"):
        join_study(storage, "theirs", lambda: pytest.fail("it is there"), seed=0)


def test_trials_that_fail_cost_themselves_until_three_fail_in_a_row(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/study.db")
    study, _ = join_study(storage, "failing", lambda: ("", [{"x": x} for x in range(9)]), seed=0)

    def objective(trial: Any) -> tuple[float, float]:
        if trial.suggest_int("x", 0, 9) in (1, 3, 4, 6, 7, 8):
            raise CompileError("no kernel for it")
        if trial.number == 5:
            raise optuna.TrialPruned
        return 1.0, 1.0

    with pytest.raises(CompileError, match="no kernel for it"):
        run_trials(study, objective, 20, lambda done, trial: None)
    states = [trial.state for trial in study.trials]
    assert [states[0], states[5], states[8]] == [STATE.COMPLETE, STATE.PRUNED, STATE.FAIL]
    assert states.count(STATE.FAIL) == 6 and len(states) == 9
    assert subject.counts(study) == {"running": 0, "complete": 2, "pruned": 1, "failed": 6, "waiting": 0}
    assert study.trials[8].user_attrs["error"] == "no kernel for it"


def test_workers_join_one_study_on_postgresql(postgres: str) -> None:
    check_shared(postgres, work(postgres, 10, workers=2), 10)
