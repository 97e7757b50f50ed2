"""A worker process of a study with an objective that costs nothing: what `tests/search/test_study.py` starts.

`python search_worker.py URL STUDY TRIALS [hang]`: `hang` waits inside its first trial until it is killed.
"""

from __future__ import annotations

import sys
import threading

from edgeprune.search.study import join_study, need_optuna, open_storage, run_trials

SEEDS = [{"x": x} for x in (0, 5, 10)]


def main(url: str, name: str, trials: int, hang: bool) -> None:
    need_optuna()
    study, plan = join_study(open_storage(url), name, lambda: ("the plan", SEEDS), seed=0)
    assert plan == "the plan"

    def objective(trial):  # type: ignore[no-untyped-def]
        x = trial.suggest_int("x", 0, 10)
        if hang:
            print("in trial", flush=True)
            threading.Event().wait()
        return float(x), float(x * x)

    run_trials(study, objective, trials, lambda done, trial: print(f"ran {trial.number}", flush=True))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), "hang" in sys.argv[4:])
