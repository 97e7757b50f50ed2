"""Cut a network to a latency: importance and the target's latency table decide widths and depth together."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from edgeprune.bench.protocol import measure
from edgeprune.bench.testbed import Testbed
from edgeprune.config.recipe import PruneRecipe
from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact
from edgeprune.core.files import write_text_atomically
from edgeprune.gate.pairs import on_runner
from edgeprune.gate.race import Race, race
from edgeprune.images.preprocess import Preprocess
from edgeprune.images.size import ImageSize, input_shape
from edgeprune.latency.blocks import cost_with_blocks, groups_in_table, groups_inside
from edgeprune.latency.paced import Engine, gain_of, jobs_beside, measured_pace, pace_of, paced_ms
from edgeprune.latency.shipped import ProfiledNetwork, compile_shipped, subject_of
from edgeprune.models import ModelAdapter
from edgeprune.models.predictor import predictor
from edgeprune.prune.allocation import channels_to_remove, on_step
from edgeprune.prune.depth import blocks_gone, drop_blocks
from edgeprune.prune.groups import count_macs
from edgeprune.prune.knapsack import Block, allot, options_of
from edgeprune.prune.passes import Gauges, apply_passes
from edgeprune.prune.proof import require_exact
from edgeprune.prune.recalibrate import note_statistics, recalibrate
from edgeprune.prune.residual import residual_blocks, score_blocks
from edgeprune.prune.stages import PruneContext, batches, evidence_for
from edgeprune.prune.surgery import CutTerms, account, cut_to, score_groups
from edgeprune.records.bench_result import Job
from edgeprune.records.latency_table import LatencyTable
from edgeprune.records.pruning import PassReport, Pruning
from edgeprune.records.speedup import Speedup

SizedCheckpoint = tuple[Path, ImageSize]
"""A checkpoint and the size of its input."""


class Cut(BaseModel):
    """One cut to a latency.

    Attributes:
        keep: channels of every prunable group afterwards, by its name in the latency table.
        dropped: blocks that went.
        predicted_ms: latency of the whole network by the table.
        importance: share of the network's importance that was kept, in [0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep: dict[str, int]
    dropped: tuple[str, ...] = ()
    predicted_ms: float
    importance: float


def cut_to_latency(
    context: PruneContext, source: Path, table: LatencyTable, goal_ms: float, out: Path
) -> Cut:
    """Write `out/model.pt`, cut to a predicted latency and re-calibrated, and `out/cut.json`.

    Residual blocks may go as well as channels, unless the recipe says how many do or its criterion has no
    unit in common with them.

    Args:
        source: checkpoint of the network that the table is of, or of one cut from it.
        goal_ms: whole-network latency to reach by the table.

    Raises:
        BudgetError: no widths reach the goal.
        ConfigError: the table is of another network.
    """
    adapter, recipe, spec = context.adapter, context.recipe, context.spec
    model = adapter.prunable(adapter.load(source))
    example = torch.zeros(spec.shape)
    evidence = evidence_for(context, model)
    scores = score_groups(model, adapter.unprunable, example, recipe.prune, evidence)
    names = groups_in_table(table, scores)
    known = {names[name]: score.tolist() for name, score in scores.items()}
    worth = score_blocks(model, adapter.unprunable, example, recipe.prune, evidence)
    blocks = {name: Block(score, groups_inside(table, name)) for name, score in worth.items()}
    options = options_of(known, table.original, table.step, recipe.prune.max_ratio)
    found = allot(known, options, cost_with_blocks(table, model, blocks), goal_ms, blocks=blocks)
    keep = {name: found.keep.get(names[name], len(score)) for name, score in scores.items()}
    note_statistics(model, batches(context.dataset, spec, recipe.seed))
    pruned = cut_to(model, adapter.unprunable, example, recipe.prune.skip, scores, keep)
    doomed = channels_to_remove(scores, keep)
    require_exact(model, adapter.unprunable, example, recipe.prune.skip, doomed)
    pruned = drop_blocks(pruned, found.dropped)
    recalibrate(pruned, batches(context.dataset, spec, recipe.seed))
    adapter.save(pruned, out / "model.pt")
    cut = Cut(keep=found.keep, dropped=found.dropped, predicted_ms=found.cost, importance=found.importance)
    write_text_atomically(out / "cut.json", cut.model_dump_json())
    return cut


def least_latency(context: PruneContext, source: Path, table: LatencyTable) -> float:
    """Return the latency in ms, by the table, of the least that may be left of its own network."""
    adapter, settings = context.adapter, context.recipe.prune
    model = adapter.prunable(adapter.load(source))
    blocks = residual_blocks(model, adapter.unprunable, torch.zeros(context.spec.shape), settings)
    least = {
        name: on_step(width * (1 - settings.max_ratio), table.step, width)
        for name, width in table.original.items()
    }
    return cost_with_blocks(table, model, blocks)(least | dict.fromkeys(blocks, 0))


def race_checkpoints(
    adapter: ModelAdapter,
    before: Path,
    after: Path,
    imgsz: ImageSize,
    profile: DeviceProfile,
    table: LatencyTable,
    testbed: Testbed,
) -> Race:
    """Measure two checkpoints side by side on the target, in the precision and environment of the table.

    Raises:
        CompileError: the runtime cannot use one of them.
        DeviceError: a worker crashed, hung or answered with garbage.
    """
    networks = {"before": (before, imgsz), "after": (after, imgsz)}
    with _jobs_of(adapter, networks, profile, table, testbed) as jobs:
        return race(jobs[0], jobs[1], on_runner(testbed.runner, testbed.effort.racing))


def compare_networks(
    adapter: ModelAdapter,
    networks: Sequence[SizedCheckpoint | Engine],
    profile: DeviceProfile,
    table: LatencyTable,
    testbed: Testbed,
) -> tuple[Speedup, ...]:
    """Measure networks in turns on the target, in the precision and environment of the table.

    Args:
        networks: checkpoints, which are compiled as they ship, or engines.

    Returns:
        How many times as fast the last one is as each of the others.

    Raises:
        CompileError: the runtime cannot use one of them.
        DeviceError: a worker crashed, hung or answered with garbage.
    """
    named = {str(index): network for index, network in enumerate(networks)}
    with _jobs_of(adapter, named, profile, table, testbed) as jobs:
        *others, last = measure(jobs, testbed.effort.pacing, testbed.runner)
    return tuple(gain_of(one, last) for one in others)


@contextmanager
def _jobs_of(
    adapter: ModelAdapter,
    networks: Mapping[str, SizedCheckpoint | Engine],
    profile: DeviceProfile,
    table: LatencyTable,
    testbed: Testbed,
) -> Iterator[list[Job]]:
    """Give the jobs that measure networks as they ship, in the environment of a table; files go away."""
    threads, batch = table.key.threads, table.batch
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        engines: dict[str, Engine] = {}
        for name, network in networks.items():
            match network:
                case (Artifact() as engine, Preprocess() as spec):
                    engines[name] = engine, spec
                case (Path() as path, imgsz):
                    subject = subject_of(adapter, path, imgsz, profile, profile.ship, threads, batch)
                    engines |= _engines(subject, {name: subject.model}, folder, testbed)
        yield jobs_beside(engines, profile, pace_of(table), folder)


def reshape(
    context: PruneContext,
    source: Path,
    profile: DeviceProfile,
    table: LatencyTable | None,
    testbed: Testbed | None,
    out: Path,
) -> tuple[PassReport, ...]:
    """Write `out/model.pt`, the network after the recipe's passes (depth, rewriting, activation).

    Args:
        table: of this network on the target; None where it is not measured, or no pass needs it.
        testbed: the device that the target is measured on; None where it is not measured.

    Raises:
        ConfigError: a pass needs a measurement that is not to be had here.
    """
    adapter, recipe, spec = context.adapter, context.recipe, context.spec
    model = adapter.prunable(adapter.load(source))
    info = adapter.info(model)

    def accuracy(net: nn.Module) -> float:
        predict = predictor(adapter.exportable(net))
        return adapter.evaluate(predict, context.dataset, "val", spec, info.postprocess).score

    gauges, step = Gauges(accuracy, metric=info.metric), profile.step
    if table is not None:
        step, gauges = table.step, replace(gauges, layer_ms=table.factor_ms)
    example = torch.zeros(spec.shape)
    with tempfile.TemporaryDirectory() as name:
        if testbed is not None:
            threads = recipe.bench.threads
            subject = subject_of(adapter, source, spec.imgsz, profile, profile.ship, threads, spec.batch)
            gauges = replace(gauges, latency=latency_gauge(subject, table, testbed, Path(name)))
        changed, reports = apply_passes(model, adapter.unprunable, example, recipe.prune, step, gauges)
    adapter.save(changed, out / "model.pt")
    return reports


def latency_gauge(
    subject: ProfiledNetwork, table: LatencyTable | None, testbed: Testbed, folder: Path
) -> Callable[[nn.Module], float]:
    """Return what measures networks, in ms, beside the one that they were made from, compiled once."""
    original = _engines(subject, {"original": subject.model}, folder, testbed)
    if table is not None:
        pace = pace_of(table)
    else:
        pace = measured_pace(original["original"], subject.profile, subject.threads, testbed, folder)

    def latency(network: nn.Module) -> float:
        with tempfile.TemporaryDirectory() as name:
            changed = _engines(subject, {"changed": network}, Path(name), testbed)
            return paced_ms(original | changed, subject.profile, pace, testbed, Path(name))

    return latency


def _engines(
    subject: ProfiledNetwork, networks: Mapping[str, nn.Module], folder: Path, testbed: Testbed
) -> dict[str, Engine]:
    return {
        name: (compile_shipped(subject, network, folder / name, testbed), subject.spec)
        for name, network in networks.items()
    }


def describe_descent(
    adapter: ModelAdapter,
    before: SizedCheckpoint,
    after: SizedCheckpoint,
    recipe: PruneRecipe,
    step: int,
    goal: str,
) -> Pruning:
    """Return the account of all cuts together: of `before`, unpruned, and `after`, which was cut from it.

    Args:
        step: channels that the widths are multiples of, as the latency table has it.
        goal: what was pruned to, in words.
    """
    models = [adapter.prunable(adapter.load(path)) for path, _ in (before, after)]
    example = torch.zeros(input_shape(before[1]))
    report = account(models[0], models[1], adapter.unprunable, example, recipe, CutTerms(goal, 0.0, step))
    if after[1] != before[1]:
        macs, _ = count_macs(models[1], torch.zeros(input_shape(after[1])))
        report = report.model_copy(update={"macs_after": macs})
    widths = [layer for layer in report.layers if layer.prunable]
    kept = sum(layer.after for layer in widths) / sum(layer.before for layer in widths)
    more = {"metric": adapter.info(models[0]).metric, "ratio": 1 - kept, "dropped": blocks_gone(*models)}
    return report.model_copy(update=more)
