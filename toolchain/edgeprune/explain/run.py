"""`explain`: what brought a row its speed-up, and which layers of its engine take the time, and why."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from edgeprune.bench.effort import Effort
from edgeprune.bench.node_times import NodeTimes, node_times
from edgeprune.bench.subject import plain_input
from edgeprune.bench.testbed import as_testbed
from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError, ConfigError, DeviceError, ModelError
from edgeprune.core.files import inside
from edgeprune.explain.attribution import Split, measured_row, split
from edgeprune.explain.layer_costs import LayerCost, layer_costs, weights_of
from edgeprune.explain.reasons import engine_of, why
from edgeprune.records.summary import Row, Summary, load_summary
from edgeprune.runners import Runner

SHOWN = 10
ANOTHER_PACE = 1.25


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ExplainedLayer(_Record):
    """One of the most expensive layers, with the reasons why it is not faster, a sentence each."""

    cost: LayerCost
    why: tuple[str, ...]


class EngineTimes(_Record):
    """The time of the final engine, node by node, as its runtime counts it on the device.

    Attributes:
        nodes: how many ran.
        sum_ms: of the medians of all nodes.
        counted_ms, plain_ms: medians of whole inferences with the counters and, in turns with them, without.
        p50_ms: of the row, as the build measured it.
        note: how far the sum can be believed.
        layers: the most expensive ones.
    """

    nodes: int
    sum_ms: float
    counted_ms: float
    plain_ms: float
    p50_ms: float
    note: str
    layers: tuple[ExplainedLayer, ...]


class Explanation(_Record):
    """What `edgeprune explain` tells.

    Attributes:
        split: the speed-up taken apart; None where the build has no reference row.
        notes: what is part of a change beside its name, one sentence each.
        engine: None where its nodes could not be timed; `absent` says why.
    """

    row: str
    verdict: str
    split: Split | None
    notes: tuple[str, ...]
    engine: EngineTimes | None
    absent: str | None = None


def explain(
    folder: Path, runner: Runner, label: str | None = None, effort: Effort | None = None
) -> Explanation:
    """Explain a row of a build folder; the chosen one by default.

    The split needs `summary.json` only. The engine is run again where the folder still holds it and the
    device has its runtime.

    Args:
        runner: of the device that the build was measured on, entered.

    Raises:
        ConfigError: no measured row has this label.
        NotComparableError: the folder holds no finished build.
    """
    summary = load_summary(folder)
    row = measured_row(summary, label)
    engine, absent = None, None
    try:
        engine = _engine_times(folder, summary, row, runner, effort)
    except (ModelError, ConfigError, CompileError, DeviceError) as exc:
        absent = str(exc)
    return Explanation(
        row=row.label,
        verdict=summary.verdict,
        split=split(summary, row),
        notes=tuple(_notes(summary, row)),
        engine=engine,
        absent=absent,
    )


def _notes(summary: Summary, row: Row) -> list[str]:
    pruning = summary.targets[row.target].pruning
    found = []
    if row.variant == "pruned" and pruning:
        for one in pruning.passes:
            if one.applied:
                tried = ""
                if one.ms_before is not None and one.ms_after is not None:
                    tried = f", {one.ms_before:.2f} to {one.ms_after:.2f} ms when it was tried"
                found.append(f"pruning includes the pass {one.name}: {'; '.join(one.applied)}{tried}")
    if row.environment:
        variables = " ".join(f"{key}={value}" for key, value in row.environment.items())
        found.append(f"{row.precision} includes the environment it is fastest in: {variables}")
    return found


def _engine_times(
    folder: Path, summary: Summary, row: Row, runner: Runner, effort: Effort | None
) -> EngineTimes:
    engine = _engine(folder, summary, row)
    profile = summary.profile_of(row.target)
    bed = as_testbed(runner, (profile,), effort)
    bed.require(profile)
    spec = plain_input(engine.path)
    told = node_times(
        engine,
        profile,
        summary.threads,
        spec,
        bed,
        row.environment,
    )
    costs = layer_costs(told.nodes, weights_of(engine.path), spec.imgsz)
    known = engine_of(costs, profile.backend, row.precision, _steps(profile))
    total = sum(cost.ms for cost in costs)
    return EngineTimes(
        nodes=len(costs),
        sum_ms=total,
        counted_ms=told.counted_ms,
        plain_ms=told.plain_ms,
        p50_ms=row.p50_ms or 0.0,
        note=_note(summary, row, bed.machine["cpu"], total, told),
        layers=tuple(ExplainedLayer(cost=cost, why=why(cost, known)) for cost in costs[:SHOWN]),
    )


def _engine(folder: Path, summary: Summary, row: Row) -> Artifact:
    """Return a row's engine: from the stages, or for the chosen row the copy in ``best/``."""
    places = [inside(folder, row.artifact, ModelError)]
    if summary.chosen and summary.chosen.label == row.label:
        places.append(inside(folder, f"best/{Path(row.artifact).name}", ModelError))
    for place in places:
        if place.exists():
            engine = Artifact.of(place, "engine", row.precision)
            if engine.sha256 == row.sha256:
                return engine
    raise ModelError(
        f"{' and '.join(map(str, places))}: the engine that the build measured is not there; "
        "copy the folder with stages/, or build again"
    )


def _steps(profile: DeviceProfile) -> dict[str, int]:
    return {str(precision): step for precision, step in profile.channel_step.items()}


def _note(summary: Summary, row: Row, cpu: str, total: float, told: NodeTimes) -> str:
    plain = told.plain_ms
    sentences = [
        f"The nodes add up to {total:.2f} ms. A whole inference took {told.counted_ms:.2f} ms with the "
        f"counters and {plain:.2f} ms without, and {row.p50_ms:.2f} ms at p50 in the build: read the shares, "
        "and the milliseconds as the counters' own."
    ]
    if row.p50_ms and max(plain / row.p50_ms, row.p50_ms / plain) > ANOTHER_PACE:
        pace = plain / row.p50_ms
        sentences.append(
            f"The machine now takes {pace:.2f}x the time of the build: other work may run on it."
        )
    there = summary.environment.get("cpu")
    if there and cpu != there:
        sentences.append(f"The build was measured on another machine ({there}); this is {cpu}.")
    return " ".join(sentences)
