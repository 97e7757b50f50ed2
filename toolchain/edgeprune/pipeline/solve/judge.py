"""What val says of one size of the search: of its artifact, as it ships on the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from edgeprune.core.artifact import Artifact
from edgeprune.pipeline.context import SELECTION_SPLIT, Build
from edgeprune.pipeline.convert import source
from edgeprune.pipeline.mixed_precision import guard_row
from edgeprune.pipeline.rows import assess, export_model
from edgeprune.pipeline.solve.rungs import Entry, Problem, SizedNetwork, time_network
from edgeprune.records.scores import Accuracy
from edgeprune.records.speedup import Speedup

FASTER = 1.02
"""A size that is not this much faster than the one before it is not worth a training."""


class Judged(NamedTuple):
    """What val says of a network.

    Attributes:
        accuracy: with its drop.
        gain: over the user's own network, where layers stay in float; None where they do not, or where
            nothing is measured: then what was measured before holds.
    """

    accuracy: Accuracy
    gain: Speedup | None = None


def judge(problem: Problem, network: SizedNetwork) -> Accuracy:
    """Return what val says of a network, all of it in the precision that ships."""
    context, taken, _ = _exported(problem, network)
    return _judged(problem, assess(context, problem.profile, "pruned", problem.profile.ship, taken)[2])


def judge_guarded(problem: Problem, network: SizedNetwork, above: SizedNetwork) -> Judged:
    """Return what val says of a network with the layers in float that int8 costs too much, as in its row.

    Layers in float take time, so the network is measured again. It is judged as it is in int8 where all
    layers would be in float, and where what is left of int8 is no faster than the next larger size.

    Args:
        above: the next larger size.
    """
    context, taken, onnx = _exported(problem, network)
    row = guard_row(context, problem.profile, "pruned", problem.profile.ship, taken, onnx, problem.baseline)
    if row.guard is None:
        return Judged(_judged(problem, row.accuracy))
    gains = None
    if len(row.guard.floats) < len(row.guard.layers):
        gains = time_network(problem, network, above, row.artifact)
        if gains is None or not is_no_faster(gains.above):
            return Judged(_judged(problem, row.accuracy), gains.original if gains else None)
    return Judged(judge(problem, network))


def judge_again(problem: Problem, entry: Entry, original: SizedNetwork, above: SizedNetwork) -> Entry:
    """Return what was tried for another target as it is on this one: its speed and its drops here.

    Args:
        original: what speed-ups count from.
        above: what the next larger size is measured as.
    """
    network = SizedNetwork(entry.network, entry.imgsz)
    gains = time_network(problem, network, original)
    short = judge(problem, network)
    tried = replace(entry.tried, short=problem.counts(short), long=None)
    gain = gains.original if gains else None
    found = replace(entry, tried=tried, predicted_ms=None, gain=gain, short=short, long=None)
    if not entry.trained:
        return found
    trained = SizedNetwork(entry.trained, entry.imgsz)
    return with_long(problem, found, trained, judge_guarded(problem, trained, above))


def with_long(problem: Problem, entry: Entry, trained: SizedNetwork, judged: Judged) -> Entry:
    """Return the entry of a size with what its long recovery made of it."""
    tried = replace(entry.tried, long=problem.counts(judged.accuracy))
    gain = judged.gain or entry.gain
    return replace(entry, tried=tried, trained=trained.model, gain=gain, long=judged.accuracy)


def is_no_faster(gain: Speedup) -> bool:
    """Whether it was shown that a size is not `FASTER` than the larger one; what is open is tried."""
    return (gain.times if gain.high is None else gain.high) < FASTER


def _exported(problem: Problem, network: SizedNetwork) -> tuple[Build, Artifact, Artifact]:
    """Return the build at the size of a network, what its target converts, and its ONNX file."""
    context = replace(problem.context.at(network.imgsz).on(problem.profile), choosing=True)
    onnx, _ = export_model(context, network.model, "pruned")
    return context, source(context, problem.profile, network.model, onnx, "pruned"), onnx


def _judged(problem: Problem, found: Mapping[str, Accuracy]) -> Accuracy:
    return found[SELECTION_SPLIT].dropped_from(problem.baseline[SELECTION_SPLIT])
