"""The stages of one size of the search: cut, timed beside the user's own network, recovered, judged."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import ConfigError
from edgeprune.core.files import write_text_atomically
from edgeprune.images.size import ImageSize
from edgeprune.latency.to_latency import compare_networks
from edgeprune.models import Training
from edgeprune.pipeline.context import Build, reader_of
from edgeprune.pipeline.cut_to_size import cut_to_size
from edgeprune.pipeline.solve.moves import Tried
from edgeprune.pipeline.solve.plan import Pace
from edgeprune.prune.depth import blocks_gone
from edgeprune.records.latency_table import LatencyTable
from edgeprune.records.pruning import Lever, PassReport
from edgeprune.records.scores import Accuracy, Record
from edgeprune.records.speedup import Speedup

PROBE_EPOCHS, PROBE_BATCHES = 2, 4


@dataclass(frozen=True)
class Problem:
    """What is searched: a network on a target.

    Attributes:
        original: the user's own network, which also teaches.
        uncut: what is cut: the original, or what passes before the cut made of it.
        table: of `uncut` on the target; None where shares are of multiply-accumulates.
        baseline: accuracy of the original by split.
        passes: what they changed in `uncut`.
    """

    context: Build
    profile: DeviceProfile
    original: Artifact
    uncut: Artifact
    table: LatencyTable | None
    baseline: Mapping[str, Accuracy]
    passes: tuple[PassReport, ...] = ()

    @property
    def budget(self) -> float:
        """The drop on val that is allowed."""
        return self.context.recipe.budget.max_drop

    def counts(self, judged: Accuracy) -> float:
        """Return what the budget is held against of a drop."""
        return judged.counted_drop(self.context.recipe.budget.sure)


@dataclass(frozen=True)
class Entry:
    """A size and its networks.

    Attributes:
        tried: what the search decides by.
        network: after the short recovery; right after the cut where that was more accurate, or not trained.
        imgsz: size of its input.
        trained: after the long recovery; None where there was none.
        predicted_ms: by the table; None without one.
        gain: over the user's own network on the target; None where it is not measured.
        short, long: what val says of the two networks; None where it was not asked.
        width: share of the uncut network's cost that widths and depth leave, at any input size.
        levers: the ways to its cost, of which it took one.
        passes: what was changed before any cut.
        as_cut: whether `network` has had no recovery.
        cut_from: share of the size that it was cut from; None of the uncut network.
    """

    tried: Tried
    network: Artifact
    imgsz: ImageSize
    trained: Artifact | None = None
    predicted_ms: float | None = None
    gain: Speedup | None = None
    short: Accuracy | None = None
    long: Accuracy | None = None
    width: float = 1.0
    levers: tuple[Lever, ...] = ()
    passes: tuple[PassReport, ...] = ()
    as_cut: bool = False
    cut_from: float | None = None

    @property
    def best(self) -> Artifact:
        """The more accurate of its networks on val."""
        short, long = self.tried.short, self.tried.long
        return self.trained if self.trained and long is not None and long <= short else self.network

    @property
    def told(self) -> Accuracy | None:
        """What val says of the better one."""
        return self.short if self.best == self.network else self.long


def least_work(problem: Problem) -> float:
    """Return the share of the multiply-accumulates that is left when each layer is cut as far as it may be.

    It is 1 where rounding to the channel step undoes every cut.
    """
    most = problem.context.recipe.prune.max_ratio
    try:
        _, report = cut_to_size(asking(problem.context, ratio=most), problem.uncut, problem.profile)
    except ConfigError:
        return 1.0
    return report.macs_after / report.macs_before


def asking(context: Build, **goal: float) -> Build:
    """Return a build whose recipe has a goal."""
    recipe = context.recipe
    return context.by(recipe.model_copy(update={"prune": recipe.prune.model_copy(update=goal)}))


class SizedNetwork(NamedTuple):
    """A network and the size of its input."""

    model: Artifact
    imgsz: ImageSize


class Gains(Record):
    """How many times as fast a network is as the user's own, and as the larger one that it was cut from."""

    original: Speedup
    above: Speedup


def time_network(
    problem: Problem, network: SizedNetwork, above: SizedNetwork, engine: Artifact | None = None
) -> Gains | None:
    """Measure a network in turns with the two that it is held against; None without a latency table.

    All run in the precision that ships. Turns meet whatever else the machine does alike, see
    `bench.side_by_side`.

    Args:
        engine: of the network, where it is not to be made of the checkpoint: one with layers in float.
    """
    context, profile, table = problem.context, problem.profile, problem.table
    if table is None:
        return None
    own = SizedNetwork(problem.original, context.spec.imgsz)
    others = [*dict.fromkeys((own, above))]
    order = [*others, SizedNetwork(engine or network.model, network.imgsz)]
    parts = {
        "networks": [[model.sha256, imgsz] for model, imgsz in order],
        "target": profile.traits,
        "table": table.key.model_dump(),
        "batch": context.spec.batch,
    }

    def make(out: Path) -> None:
        beside = [(model.path, imgsz) for model, imgsz in others]
        last = (
            (network.model.path, network.imgsz)
            if engine is None
            else (engine, context.at(network.imgsz).spec)
        )
        found = compare_networks(context.adapter, [*beside, last], profile, table, context.testbed)
        gains = Gains(original=found[0], above=found[-1])
        write_text_atomically(out / "gains.json", gains.model_dump_json())

    uses = (*context.of_export, *context.of_runtime(profile.backend))
    read = reader_of(Gains, "gains.json")
    return context.stage("timed", parts, make, read, uses=uses, times=(profile.backend,))


def lost_blocks(problem: Problem, network: Artifact) -> tuple[str, ...]:
    """Name the blocks of the uncut network that one that was cut from it no longer has."""
    load = problem.context.adapter.load
    return blocks_gone(load(problem.uncut.path), load(network.path))


class _EnoughError(Exception):
    """The pace of a training is known: it ends here."""


def measure_pace(context: Build, student: Artifact, teacher: Artifact, limit_s: float | None = None) -> Pace:
    """Return what an epoch of recovery takes here: two of them are trained on a network, and left.

    Args:
        limit_s: seconds after which the training ends and its batches so far tell the pace; None for both
            epochs.
    """
    recipe = context.recipe
    tuning = recipe.finetune.model_copy(update={"epochs": PROBE_EPOCHS})
    parts: dict[str, Any] = {
        "student": student.sha256,
        "finetune": tuning.model_dump(),
        "imgsz": context.spec.imgsz,
        "train": context.dataset.fingerprint("train"),
        "val": context.dataset.fingerprint("val"),
    }
    if limit_s is not None:
        parts["limit_s"] = limit_s

    def make(out: Path) -> None:
        begun = time.monotonic()
        seen: list[tuple[float, float]] = []

        def follow(share: float, text: str) -> None:
            seen.append((time.monotonic() - begun, share))
            context.notify("pace", share, text)
            if limit_s is not None and seen[-1][0] > limit_s and len(seen) >= PROBE_BATCHES:
                raise _EnoughError

        context.notify("pace", 0.0, "the first epochs of a training, to tell how long the search takes")
        training = Training(
            student=student.path,
            teacher=teacher.path if tuning.distill else None,
            dataset=context.dataset,
            imgsz=context.spec.imgsz,
            recipe=recipe.model_copy(update={"finetune": tuning}),
            out=out / "model.pt",
            progress=follow,
        )
        with suppress(_EnoughError):
            context.adapter.finetune(training)
        (out / "model.pt").unlink(missing_ok=True)
        pace = pace_from(seen, time.monotonic() - begun)
        write_text_atomically(out / "pace.json", json.dumps(asdict(pace)))
        context.notify("pace", 1.0, f"{pace.epoch_s:.3g} s an epoch")

    return context.stage("pace", parts, make, reader_of(Pace, "pace.json"), uses=context.of_model)


def pace_from(seen: list[tuple[float, float]], whole_s: float) -> Pace:
    """Return the pace of a training of two epochs, of which the second may not have begun.

    Args:
        seen: (seconds, share done) after each batch.
        whole_s: seconds of all of it.
    """
    first, begun = seen[0] if seen else (0.0, 0.0)
    last, share = seen[-1] if seen else (0.0, 1.0)
    second = next((seconds for seconds, share in seen if share > 1 / PROBE_EPOCHS + 1e-9), None)
    if second is not None:
        epoch_s = second - first
    elif begun < share < 1:
        epoch_s = (last - first) / (share - begun) / PROBE_EPOCHS
        whole_s = first + PROBE_EPOCHS * epoch_s
    else:
        epoch_s = whole_s / PROBE_EPOCHS
    return Pace(epoch_s, max(0.0, whole_s - PROBE_EPOCHS * epoch_s))
