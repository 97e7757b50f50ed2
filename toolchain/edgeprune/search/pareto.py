"""The Pareto set of a study: which of its trials are on it, and their networks as files."""

from __future__ import annotations

import platform
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from edgeprune.core.errors import BudgetError
from edgeprune.images.size import ImageSize
from edgeprune.pipeline.context import Build
from edgeprune.pipeline.rows import export_model
from edgeprune.records.scores import ScoredRecord
from edgeprune.records.summary import SanityWarning, data_warnings
from edgeprune.search.study import count_finished, counts
from edgeprune.search.trial import TrialBench, at_size, checkpoint, rate_checkpoint

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

FRONT = "pareto"


class ParetoMember(ScoredRecord):
    """A network of the Pareto set.

    Attributes:
        ms: measured in the precision that ships, in turns with the unpruned network, at the table's pace.
        score: in torch on val, after the recovery.
        channels: share of the prunable channels that is kept.
        host, out: which machine made it, and in which folder.
        checkpoint, onnx: paths relative to this folder; null when another machine holds them.
    """

    trial: int
    ms: float
    score: float
    imgsz: ImageSize
    activation: str
    dropped: tuple[str, ...]
    rewrite: bool
    channels: float
    keep: dict[str, int]
    host: str
    out: str
    checkpoint: str | None = None
    onnx: str | None = None


class Found(BaseModel):
    """The result of a search.

    Attributes:
        trials: how many by state.
        unpruned_ms: latency of the unpruned network by the study's table.
        front: the Pareto set, the fastest first.
        others: (latency in ms, score) of the complete trials that are not on it.
        warnings: what was noted of the data set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    study: str
    storage: str
    target: str
    precision: str
    trials: dict[str, int]
    unpruned_ms: float
    front: tuple[ParetoMember, ...]
    others: tuple[tuple[float, float], ...]
    warnings: tuple[SanityWarning, ...] = ()


def origin(context: Build) -> dict[str, str]:
    """Return which machine makes what a build makes, and in which folder."""
    return {"host": platform.node(), "out": str(context.request.out.resolve())}


def pareto(bench: TrialBench, study: Study, storage: str, collect: bool) -> Found:
    """Read the study, and write the checkpoints of the Pareto set that are to be had here.

    Args:
        storage: its URL, to be shown.
        collect: make again what other machines made.

    Raises:
        BudgetError: no trial was complete.
    """
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        raise BudgetError(
            f"--study {study.study_name}: no trial of {count_finished(study)} was complete; "
            "allow a larger --max-latency-ms or run more --trials"
        )
    best = sorted(study.best_trials, key=lambda trial: (trial.values[1], trial.number))
    folder = bench.context.request.out / FRONT
    partial = Path(tempfile.mkdtemp(prefix=f".partial-{FRONT}-", dir=folder.parent))
    try:
        front = [_member(bench, trial, partial, collect) for trial in best]
        partial.chmod(0o755)  # mkdtemp makes it private to the user
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    on_front = {trial.number for trial in best}
    others = [trial.values for trial in complete if trial.number not in on_front]
    return Found(
        study=study.study_name,
        storage=storage,
        target=bench.profile.name,
        precision=bench.profile.ship,
        trials=counts(study),
        unpruned_ms=bench.table.whole_ms,
        front=tuple(front),
        others=tuple((ms, rate_checkpoint) for rate_checkpoint, ms in others),
        warnings=data_warnings(bench.context.dataset.notes),
    )


def _member(bench: TrialBench, trial: FrozenTrial, out: Path, collect: bool) -> ParetoMember:
    from edgeprune.search.space import decode

    choice = decode(bench.space, trial.params)
    made_by = {key: str(trial.user_attrs[key]) for key in ("host", "out")}
    member = ParetoMember(
        trial=trial.number,
        ms=trial.values[1],
        metric=bench.context.info.metric,
        score=trial.values[0],
        imgsz=choice.imgsz,
        activation=choice.activation,
        dropped=choice.dropped,
        rewrite=choice.rewrite,
        channels=sum(choice.keep.values()) / sum(bench.table.original[name] for name in choice.keep),
        keep=dict(choice.keep),
        **made_by,
    )
    if made_by != origin(bench.context) and not collect:
        return member
    bench.context.notify("collect", 0.0, f"trial {trial.number}")
    model = checkpoint(bench, choice)
    onnx, _ = export_model(at_size(bench, choice), model, "pruned")
    place = out / str(trial.number)
    place.mkdir()
    for artifact in (model, onnx):
        shutil.copyfile(artifact.path, place / artifact.path.name)
    bench.context.notify("collect", 1.0, f"trial {trial.number}")
    return member.model_copy(
        update={
            # Of the file beside it: one that was made again is rated again.
            "score": rate_checkpoint(bench, model, choice),
            "checkpoint": f"{FRONT}/{trial.number}/{model.path.name}",
            "onnx": f"{FRONT}/{trial.number}/{onnx.path.name}",
        }
    )
