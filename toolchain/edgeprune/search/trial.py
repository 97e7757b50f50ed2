"""One trial of a search: cut, timed on the target, recovered and rated.

Its parts are cached stages: a checkpoint of the Pareto set is there when it is asked for, and what another
machine made is made again from its parameters.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact, keep_path, kept_path
from edgeprune.core.files import write_text_atomically
from edgeprune.images.size import ImageSize
from edgeprune.pipeline.context import Build, reader_of
from edgeprune.pipeline.prune_to_latency import torch_accuracy
from edgeprune.pipeline.train import finetune
from edgeprune.records.latency_table import LatencyTable

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial

    from edgeprune.search.space import Choice, Scored, Space

FORECAST_MARGIN = 1.25
"""A trial is not even built when the table predicts it slower than the limit by this factor."""
FASTER, WORSE = 0.9, 0.02
"""Hopeless right after surgery: a finished trial of its kind took 0.9 of its time, scoring 0.02 more."""


@dataclass(frozen=True)
class TrialBench:
    """What the trials of one worker are made and rated with.

    Attributes:
        context: of the build, at the image size of the latency table.
        epochs: of recovery before a trial is rated; 0 trains nothing.
    """

    context: Build
    original: Artifact
    profile: DeviceProfile
    network: Scored
    table: LatencyTable
    space: Space
    epochs: int


class FinishedTrial(NamedTuple):
    """A finished trial; `rated` is its score right after surgery."""

    number: int
    ms: float
    rated: float
    activation: str
    rewrite: bool


def rate(bench: TrialBench, trial: Trial) -> tuple[float, float]:
    """Make and rate one trial: its score on val, and latency in ms. The objective of the study.

    A trial ends early, the cheapest check first: when the latency table predicts it far above
    `budget.max_latency_ms`, when it is measured above that, or when it is `hopeless` right after surgery.
    Optuna's own pruners know only one objective.

    Raises:
        TrialPruned: it ended early; the trial's attribute `pruned` says why.
        CompileError: the runtime cannot use the network.
    """
    from optuna import TrialPruned

    from edgeprune.search.space import decode, predicted_ms

    def pruned(why: str) -> TrialPruned:
        trial.set_user_attr("pruned", why)
        return TrialPruned(why)

    limit = bench.context.recipe.budget.max_latency_ms
    choice = decode(bench.space, _suggested(trial, bench.space))
    forecast = predicted_ms(choice, bench.table)
    if limit and forecast and forecast > limit * FORECAST_MARGIN:
        raise pruned(f"predicted to take {forecast:.2f} ms")
    student = _cut(bench, choice)
    ms = time_checkpoint(bench, student, choice.imgsz)
    if limit and ms > limit:
        raise pruned(f"measured: {ms:.2f} ms")
    after_surgery = rate_checkpoint(bench, student, choice)
    trial.set_user_attr("after_surgery", after_surgery)
    if bench.epochs == 0:
        return after_surgery, ms
    if rival := hopeless(ms, after_surgery, choice, _rivals(trial.study)):
        raise pruned(f"trial {rival.number} is faster and was more accurate right after surgery")
    return rate_checkpoint(bench, checkpoint(bench, choice), choice), ms


def checkpoint(bench: TrialBench, choice: Choice) -> Artifact:
    """Return the network of a choice, cut and recovered; made again where it is not in the folder."""
    student = _cut(bench, choice)
    if bench.epochs == 0:
        return student
    return finetune(at_size(bench, choice), student, bench.original, bench.epochs)


def rate_checkpoint(bench: TrialBench, model: Artifact, choice: Choice) -> float:
    """Return the score of a checkpoint in torch on val, at the choice's image size."""
    return torch_accuracy(at_size(bench, choice), model)


def at_size(bench: TrialBench, choice: Choice) -> Build:
    """Return the context of the build at a choice's image size."""
    return bench.context.at(choice.imgsz)


def hopeless(
    ms: float, rated: float, choice: Choice, rivals: Iterable[FinishedTrial]
) -> FinishedTrial | None:
    """Return the finished trial that makes this one's recovery not worth its time, or None.

    A rival is clearly faster and was clearly more accurate right after surgery, so after the same recovery it
    most likely is still. Only like is compared with like: what another activation or a rewriting costs right
    after surgery, training gives back.

    Args:
        ms, rated: latency, and score right after surgery.
    """
    kind = choice.activation, choice.rewrite
    for rival in rivals:
        better = rival.ms <= FASTER * ms and rival.rated >= rated + WORSE
        if better and (rival.activation, rival.rewrite) == kind:
            return rival
    return None


def _rivals(study: Study) -> list[FinishedTrial]:
    from optuna.trial import TrialState

    return [
        FinishedTrial(
            trial.number,
            trial.values[1],
            trial.user_attrs["after_surgery"],
            trial.params["activation"],
            trial.params.get("rewrite", False),
        )
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ]


def _suggested(trial: Trial, space: Space) -> dict[str, Any]:
    """Let the study's sampler choose: a whole number for each width, one of the alternatives for the rest."""
    return {
        name: trial.suggest_int(name, 0, len(values) - 1)
        if name.startswith("width.")
        else trial.suggest_categorical(name, values)
        for name, values in space.parameters().items()
    }


def _cut(bench: TrialBench, choice: Choice) -> Artifact:
    context = bench.context
    parts = {
        "model": bench.original.sha256,
        "choice": asdict(choice),
        "prune": context.recipe.prune.model_dump(),
        "table": bench.table.model_dump(mode="json") if choice.rewrite else None,
        "imgsz": context.spec.imgsz,
        "seed": context.recipe.seed,
        "train": context.dataset.fingerprint("train"),
    }

    def make(out: Path) -> None:
        from edgeprune.search.space import realize

        model = realize(context.adapter, bench.network, choice, bench.table, context.dataset, context.recipe)
        context.adapter.save(model, out / "model.pt")

    def read(place: Path) -> Artifact:
        return context.network(place / "model.pt", bench.original)

    return context.stage("trial", parts, make, read, uses=context.of_pruning)


def time_checkpoint(bench: TrialBench, student: Artifact, imgsz: ImageSize) -> float:
    """Return a checkpoint's latency on the target in ms, measured in turns with the unpruned network."""
    context, table = bench.context, bench.table
    spec = context.at(imgsz).spec
    parts = {
        "model": student.sha256,
        "shape": spec.batch_shape,
        "target": bench.profile.traits,
        "table": table.key.model_dump(),
        "whole_ms": table.whole_ms,
    }

    def make(out: Path) -> None:
        from edgeprune.latency.paced import pace_of, paced_ms
        from edgeprune.latency.shipped import engine_of

        unpruned = _unpruned_engine(bench)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            engine = engine_of(
                context.adapter,
                student.path,
                spec,
                bench.profile,
                table.key.threads,
                folder / "engine",
                context.testbed,
            )
            engines = {"unpruned": (unpruned, context.at(table.imgsz).spec), "trial": (engine, spec)}
            ms = paced_ms(engines, bench.profile, pace_of(table), context.testbed, folder)
        write_text_atomically(out / "latency.json", json.dumps({"ms": ms}))

    read = reader_of(dict[str, float], "latency.json")
    times = (bench.profile.backend,)
    return context.stage("latency", parts, make, read, uses=_compiling(bench), times=times)["ms"]


def _unpruned_engine(bench: TrialBench) -> Artifact:
    context, table = bench.context, bench.table
    parts = {
        "model": bench.original.sha256,
        "shape": context.at(table.imgsz).spec.batch_shape,
        "target": bench.profile.traits,
        "threads": table.key.threads,
    }

    spec = context.at(table.imgsz).spec

    def make(out: Path) -> None:
        from edgeprune.latency.shipped import engine_of

        engine = engine_of(
            context.adapter,
            bench.original.path,
            spec,
            bench.profile,
            table.key.threads,
            out,
            context.testbed,
        )
        path = engine.path.relative_to(out).as_posix()
        keep_path(out, path)

    def read(place: Path) -> Artifact:
        return Artifact.of(kept_path(place), "engine", bench.profile.ship, bench.original.sha256)

    times = (bench.profile.backend,) if context.testbed.compiles(bench.profile) else ()
    return context.stage("unpruned", parts, make, read, uses=_compiling(bench), times=times)


def _compiling(bench: TrialBench) -> tuple[str, ...]:
    return (*bench.context.of_export, *bench.context.of_runtime(bench.profile.backend))
