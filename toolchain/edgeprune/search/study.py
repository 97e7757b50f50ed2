"""One Optuna study that many workers share: its storage, how it is made or joined, how it is worked on.

Optuna is the distributed engine: workers find each other by the storage's URL and the study's name. The first
one writes down what the study is of (its plan); all later ones read it there.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgeprune.core import database
from edgeprune.core.database import connectable, lock_whole
from edgeprune.core.errors import CompileError, ConfigError, RuntimeMissingError
from edgeprune.core.extras import how_to_get

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

HEARTBEAT_S = 60
"""A worker tells that often that it lives; silent for twice as long, its trial is lost and run again."""
MOST_RETRIED = 1
MOST_FAILED = 3
_PLAN, _POPULATION = "plan", "population"
_OPENINGS = 5  # workers that start together trip over each other's CREATE TABLE
_MADE_TWICE = ("already exists", "duplicate", "unique constraint")
PATIENCE_S = 30

Params = Mapping[str, Any]
Objective = Callable[["Trial"], tuple[float, float]]
"""A trial in, score and latency in ms out; raises `optuna.TrialPruned` for a hopeless one."""


def need_optuna() -> None:
    """Check that Optuna is installed, and keep its log off the terminal.

    Raises:
        RuntimeMissingError: it is not.
    """
    try:
        import optuna
    except ImportError as exc:
        raise RuntimeMissingError(f"search: Optuna is not installed; {how_to_get('search')}") from exc
    optuna.logging.disable_default_handler()


def hide_password(url: str) -> str:
    """Return a storage URL without its password."""
    return database.hide_password(url, "--storage")


@contextmanager
def answering(url: str) -> Iterator[None]:
    """Turn what a database driver raises into one line that names the storage.

    Raises:
        ConfigError: the storage does not answer, refuses the user, or is no database of Optuna's.
        RuntimeMissingError: the driver is not installed.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

    name = hide_password(url)
    try:
        yield
    except NoSuchModuleError as exc:
        raise ConfigError(f"--storage {name}: no such kind of database") from exc
    except (SQLAlchemyError, StorageInternalError) as exc:
        cause = exc.__cause__ if isinstance(exc, StorageInternalError) and exc.__cause__ else exc
        said = str(getattr(cause, "orig", None) or cause).splitlines() or [type(cause).__name__]
        raise ConfigError(
            f"--storage {name}: the storage does not answer: {said[0].rstrip(' :')}; "
            "what it holds is kept, and the same command goes on"
        ) from exc


def open_storage(url: str) -> RDBStorage:
    """Connect to a study's database; its tables are made when it has none.

    Raises:
        ConfigError: it does not answer within 10 s, refuses the user, or holds another schema.
        RuntimeMissingError: the database's driver is not installed.
    """
    import optuna
    from sqlalchemy.exc import DBAPIError

    with answering(url):
        parsed, waits = connectable(url)
        for opening in range(_OPENINGS):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    storage = optuna.storages.RDBStorage(
                        parsed.render_as_string(hide_password=False),
                        engine_kwargs={"connect_args": waits, "pool_pre_ping": True},
                        heartbeat_interval=HEARTBEAT_S,
                        heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(
                            MOST_RETRIED
                        ),
                    )
                if parsed.drivername.startswith("sqlite"):
                    lock_whole(storage.engine)
                return storage
            except DBAPIError as exc:
                # Another worker was making the tables at the same moment: they are there now.
                text = str(exc.orig).lower()
                if opening == _OPENINGS - 1 or not any(sign in text for sign in _MADE_TWICE):
                    raise
            except ImportError as exc:
                raise RuntimeMissingError(
                    f"--storage {hide_password(url)}: its driver is not installed ({exc.__cause__ or exc})"
                ) from exc
            except RuntimeError as exc:
                raise ConfigError(f"--storage {hide_password(url)}: {str(exc).splitlines()[0]}") from exc
    raise AssertionError  # the last opening returns or raises


def join_study(
    storage: RDBStorage, name: str, make: Callable[[], tuple[str, Sequence[Params]]], seed: int
) -> tuple[Study, str]:
    """Return the study of that name with its plan; the first worker makes both.

    Args:
        make: returns the plan as text, and the parameters of NSGA-II's first generation.
        seed: of the sampler of the worker that makes the study. The others draw theirs, or all breed alike.

    Raises:
        ConfigError: the study has no plan: another program made it.
    """
    import optuna

    made = False
    if name not in optuna.get_all_study_names(storage):
        plan, seeds = make()
        try:
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                directions=["maximize", "minimize"],  # score, latency in ms
            )
        except optuna.exceptions.DuplicatedStudyError:
            pass  # another worker was quicker: its plan counts
        else:
            made = True
            for params in seeds:
                study.enqueue_trial(dict(params))
            study.set_user_attr(_POPULATION, max(2, len(seeds)))
            study.set_user_attr(_PLAN, plan)  # last: who finds a plan finds the seeds too
    study = optuna.load_study(study_name=name, storage=storage)
    for _ in range(PATIENCE_S):
        attrs = study.user_attrs
        if _PLAN in attrs:
            study.sampler = optuna.samplers.NSGAIISampler(
                population_size=attrs[_POPULATION], seed=seed if made else None
            )
            return study, attrs[_PLAN]
        time.sleep(1)
    raise ConfigError(
        f"--study {name}: a study that `edgeprune search` did not make, or not whole; give another name"
    )


def run_trials(
    study: Study, objective: Objective, trials: int, on_trial: Callable[[int, FrozenTrial], None]
) -> None:
    """Run trials until the study has so many finished ones, whoever ran them.

    Workers that are in the middle of a trial then end it: there may be as many more as there are workers.

    Args:
        trials: finished ones to reach; complete and pruned ones count, failed and lost ones do not.
        on_trial: called after each own trial with how many are finished in the study.

    Raises:
        CompileError: three trials of this worker failed one after the other; the last one's reason.
        EdgepruneError: whatever else a trial raises; that trial is marked as failed.
    """
    import optuna

    failed: list[CompileError] = []

    def guarded(trial: Trial) -> tuple[float, float]:
        try:
            values = objective(trial)
        except CompileError as exc:
            failed.append(exc)
            trial.set_user_attr("error", str(exc))
            raise
        except optuna.TrialPruned:
            failed.clear()
            raise
        failed.clear()
        return values

    def after(study: Study, trial: FrozenTrial) -> None:
        done = count_finished(study)
        on_trial(done, trial)
        if len(failed) == MOST_FAILED:
            raise failed[-1]
        if done >= trials:
            study.stop()

    if count_finished(study) < trials:
        study.optimize(guarded, callbacks=[after], catch=(CompileError,))


def count_finished(study: Study) -> int:
    """Return how many trials of a study are complete or pruned."""
    from optuna.trial import TrialState

    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))


def counts(study: Study) -> dict[str, int]:
    """Return how many trials there are by state: complete, pruned, failed, running, waiting."""
    from optuna.trial import TrialState

    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    names = {TrialState.FAIL: "failed"}
    return {names.get(state, state.name.lower()): states.count(state) for state in TrialState}
