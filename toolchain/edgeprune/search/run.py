"""`search`: one worker of a study over widths, depth, activation and image size, and its Pareto set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from edgeprune.bench.testbed import Testbed
from edgeprune.core.artifact import STAGES, Artifact, Store, content_key, require_own_folder
from edgeprune.core.documents import parse_record
from edgeprune.core.errors import ConfigError, NotComparableError
from edgeprune.core.files import write_text_atomically
from edgeprune.core.text import flatten
from edgeprune.images.dataset import Dataset
from edgeprune.images.size import ImageSize, misfit
from edgeprune.models.source import network_key
from edgeprune.models.trust import trusting
from edgeprune.pipeline.build import start
from edgeprune.pipeline.context import Build, BuildRequest, Notify
from edgeprune.pipeline.load import try_original
from edgeprune.pipeline.prune_to_latency import latency_table
from edgeprune.records.latency_table import LatencyTable, check_key
from edgeprune.search.pareto import FRONT, Found, origin, pareto
from edgeprune.search.study import answering, hide_password, join_study, need_optuna, open_storage, run_trials
from edgeprune.search.trial import TrialBench, rate

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

    from edgeprune.search.space import Space

RESULT, PAGE = "search.json", "search.html"


@dataclass(frozen=True)
class SearchRequest:
    """What a search is asked for.

    Attributes:
        build: the model, the data, one target, the recipe and the folder.
        imgszs: image sizes, the latency table's first; empty stands for the recipe's or the checkpoint's.
        activations: what may take the place of SiLU, `keep` among them for SiLU itself.
        epochs: of recovery before a trial is rated; 0 measures the batch norms again and trains nothing.
        trials: finished ones that the study is to have, over all its workers.
        storage: an Optuna storage's URL; None is an SQLite file in the folder.
        collect: run no trial, and make again what other machines made of the Pareto set.
    """

    build: BuildRequest
    imgszs: tuple[ImageSize, ...]
    activations: tuple[str, ...]
    epochs: int
    trials: int
    study: str
    storage: str | None = None
    collect: bool = False


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Terms(_Record):
    """What the trials of a study have in common: a worker that differs in any of it is refused."""

    model: str
    data: str
    target: str
    precision: str
    threads: int
    imgszs: tuple[ImageSize, ...]
    batch: int = 1
    activations: tuple[str, ...]
    epochs: int
    prune: dict[str, Any]
    finetune: dict[str, Any]
    seed: int


class Plan(_Record):
    """What the first worker writes into the study."""

    terms: Terms
    table: LatencyTable


def search(request: SearchRequest, notify: Notify, testbed: Testbed | None = None) -> Found:
    """Work on the study until it has its trials; write `search.json` and `pareto/`.

    Args:
        testbed: the device that trials are measured on; this machine by default.

    Raises:
        BudgetError: no trial was complete: all were slower than allowed.
        ConfigError: the storage does not answer, or the target is not measured here.
        NotComparableError: the study is of another model, data, recipe or machine.
        RuntimeMissingError: Optuna or the storage's driver is not installed.
    """
    need_optuna()
    out = request.build.out
    url = request.storage or f"sqlite:///{os.path.realpath(out / 'study.db')}"
    hide_password(url)  # a malformed one ends here
    require_own_folder(out, (RESULT, PAGE, FRONT))
    store = Store(out / STAGES)
    with store.locked(), answering(url), trusting(request.build.trust):
        storage = open_storage(url)
        original, context = start(request.build, store, notify, testbed)
        context = try_original(context.at(_sizes(request.imgszs, context)[0]), original)[1]
        study, bench = _prepared(request, context, original, storage)
        if not request.collect:
            run_trials(
                study,
                lambda trial: _signed(bench, trial),
                request.trials,
                lambda done, trial: _say(notify, context.info.metric, min(1.0, done / request.trials), trial),
            )
        result = pareto(bench, study, hide_password(url), request.collect)
    write_text_atomically(out / RESULT, result.model_dump_json(indent=1) + "\n")
    return result


def _prepared(
    request: SearchRequest, context: Build, original: Artifact, storage: RDBStorage
) -> tuple[Study, TrialBench]:
    """Make or join the study, and return it with what this worker's trials need."""
    from edgeprune.search.space import encode, score_network, seeds, space_of

    (profile,) = request.build.targets
    recipe = context.recipe
    terms = _terms(request, context)
    context.notify("score", 0.0, recipe.prune.criterion)
    network = score_network(context.pruning, original.path)
    context.notify("score", 1.0, recipe.prune.criterion)

    def space(table: LatencyTable) -> Space:
        return space_of(network, table, recipe.prune, terms.activations, terms.imgszs)

    def make() -> tuple[str, list[dict[str, Any]]]:
        if request.collect:
            raise ConfigError(f"--study {request.study}: there is no such study to collect from")
        table = latency_table(context, original, profile, recipe.prune.rewrite)
        begin = seeds(space(table), network, table, recipe.budget.max_latency_ms)
        plan = Plan(terms=terms, table=table)
        return plan.model_dump_json(), [encode(space(table), choice) for choice in begin]

    study, text = join_study(storage, request.study, make, recipe.seed)
    table = _agreed(text, terms, f"--study {request.study}")
    if not request.collect:
        from edgeprune.latency.shipped import key_of, subject_of

        subject = subject_of(
            context.adapter, original.path, table.imgsz, profile, profile.ship, terms.threads, terms.batch
        )
        check_key(
            table.key, key_of(subject, table.key.environment, context.testbed), f"--study {request.study}"
        )
    return study, TrialBench(context, original, profile, network, table, space(table), request.epochs)


def _terms(request: SearchRequest, context: Build) -> Terms:
    recipe, profile = context.recipe, request.build.targets[0]
    return Terms(
        model=network_key(context.adapter, request.build.model.file),
        data=_data_key(context.dataset),
        target=profile.name,
        precision=profile.ship,
        threads=recipe.bench.threads,
        imgszs=_sizes(request.imgszs, context),
        batch=context.spec.batch,
        activations=request.activations,
        epochs=request.epochs,
        prune=recipe.prune.model_dump(mode="json"),
        finetune=recipe.finetune.model_dump(mode="json", exclude={"device", "epochs"}),
        seed=recipe.seed,
    )


def _agreed(text: str, terms: Terms, where: str) -> LatencyTable:
    """Return the latency table of a study's plan, and refuse to work on a study of something else."""
    another = f"{where}: its plan is of another version of edgeprune; give another name"
    plan = parse_record(Plan, text, another, ConfigError)
    theirs, ours = (dict(flatten(side.model_dump(mode="json"))) for side in (plan.terms, terms))
    if differs := next((key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)), None):
        raise NotComparableError(
            f"{where}: it was begun with {differs} {_short(theirs.get(differs))}, here it is "
            f"{_short(ours.get(differs))}; start the worker as the first one was, or give another name"
        )
    return plan.table


def _short(value: str | None) -> str:
    return "unset" if not value else value if len(value) <= 24 else f"{value[:12]}..."


def _signed(bench: TrialBench, trial: Trial) -> tuple[float, float]:
    """Rate a trial, with a note of which machine holds its checkpoint."""
    for key, value in origin(bench.context).items():
        trial.set_user_attr(key, value)
    return rate(bench, trial)


def _say(notify: Notify, metric: str, share: float, trial: FrozenTrial) -> None:
    words = trial.user_attrs.get("pruned") or trial.user_attrs.get("error") or trial.state.name.lower()
    if trial.values:
        words = f"{trial.values[1]:.2f} ms, {metric} {trial.values[0]:.4f}"
    notify("search", share, f"trial {trial.number}: {words}")


def _sizes(wanted: tuple[ImageSize, ...], context: Build) -> tuple[ImageSize, ...]:
    for size in wanted:
        if wrong := misfit(size, context.info.stride):
            raise ConfigError(f"--imgsz: {wrong}")
        context.adapter.preprocess(size)  # not every kind of model takes another size than its own
    return wanted or (context.spec.imgsz,)


def _data_key(dataset: Dataset) -> str:
    """Return a key of images and labels that is the same wherever the data set lies."""
    return content_key({split: dataset.fingerprint(split) for split in dataset.images})
