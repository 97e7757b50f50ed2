"""What may make the next size: narrower or fewer layers, or a smaller input with more of them, measured.

At each input size the integer program gives the most important layers for what is left of the cost. So
choosing among the sizes solves both together. What an importance promises is no measure between levers. The
two that are most accurate right after surgery get the short recovery, and the better one then is taken, as
NetAdapt (arXiv 1804.03230) chooses among layers: a narrower network gains more by a recovery than one with a
smaller input does.

A size need not be cut from the next larger one. For an input larger than that one's it is cut from the
smallest network that has so large an input, so that a step of the input can be taken back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import BudgetError, ConfigError
from edgeprune.core.files import write_text_atomically
from edgeprune.images.size import ImageSize, input_shape, sides, size_words, smaller_sizes
from edgeprune.latency.to_latency import compare_networks
from edgeprune.models.predictor import predictor
from edgeprune.pipeline.context import reader_of
from edgeprune.pipeline.cut_to_size import cut_to_size
from edgeprune.pipeline.prune_to_latency import cut, torch_accuracy
from edgeprune.pipeline.solve.rungs import Entry, Problem, asking, lost_blocks
from edgeprune.records.pruning import Lever, PassReport
from edgeprune.records.speedup import Speedup

MOST = 3
"""So many input sizes are tried for one rung, from that of the next larger network on; and the one before."""
RIVALS = 2
"""So many of them get a short recovery."""
SAME = 0.999
"""Widths that leave this share of what was there are those that were there."""


class Proposal(NamedTuple):
    """A network that has the cost that was asked for.

    Attributes:
        imgsz: size of its input.
        width: share of the uncut network's cost that widths and depth leave, at any input size.
        predicted_ms: by the table; None without one.
        passes: what was changed before any cut in what it was cut from.
        score: on val right after surgery, in float; None where there is no other proposal.
        cut_from: share of the size that it was cut from.
    """

    network: Artifact
    imgsz: ImageSize
    width: float
    predicted_ms: float | None
    passes: tuple[PassReport, ...] = ()
    score: float | None = None
    cut_from: float = 1.0

    def differs_from(self, above: Entry) -> bool:
        """Whether it is another network, or has another input, than the next larger size."""
        return (self.network, self.imgsz) != (above.best, above.imgsz)


def input_sizes(problem: Problem) -> tuple[ImageSize, ...]:
    """Return the input sizes that may be taken, the build's own first: that alone where the user gave it.

    A network whose layers ask for one size runs at no other.
    """
    context = problem.context
    own = context.spec.imgsz
    if context.recipe.imgsz is not None:
        return (own,)
    found: list[ImageSize] = [own]
    predict = predictor(context.adapter.exportable(context.adapter.load(problem.uncut.path)))
    for size in smaller_sizes(own, context.info.stride):
        try:
            predict(np.zeros(input_shape(size), np.float32))
        except RuntimeError:
            break
        found.append(size)
    return tuple(found)


def cost_at(problem: Problem, imgsz: ImageSize) -> float:
    """Return what the uncut network costs at an input size, over what it costs at the build's own.

    Measured in turns where the target is measured; else the share of the pixels.
    """
    context, profile, table = problem.context, problem.profile, problem.table
    own = context.spec.imgsz
    if imgsz == own:
        return 1.0
    (height, width), (whole_height, whole_width) = sides(imgsz), sides(own)
    if table is None:
        return height * width / (whole_height * whole_width)
    parts = {
        "network": problem.uncut.sha256,
        "sizes": [own, imgsz],
        "target": profile.traits,
        "table": table.key.model_dump(),
        "batch": context.spec.batch,
    }

    def make(out: Path) -> None:
        context.notify("solve", 0.0, f"the uncut network at {size_words(imgsz)}")
        networks = [(problem.uncut.path, size) for size in (own, imgsz)]
        (gain,) = compare_networks(context.adapter, networks, profile, table, context.testbed)
        write_text_atomically(out / "gain.json", gain.model_dump_json())

    uses = (*context.of_export, *context.of_runtime(profile.backend))
    read = reader_of(Speedup, "gain.json")
    return 1 / context.stage("resized", parts, make, read, uses=uses, times=(profile.backend,)).times


def propose(
    problem: Problem, larger: Sequence[Entry], share: float, sizes: Sequence[ImageSize]
) -> list[Proposal]:
    """Return networks of a share of the uncut one's cost, the most accurate right after surgery first.

    Args:
        larger: what they may be cut from, the smallest first, the uncut network last.
        sizes: input sizes that may be taken, the largest first.

    Raises:
        BudgetError, ConfigError: nothing reaches the share.
    """
    found: list[Proposal] = []
    refused: BudgetError | ConfigError | None = None
    at = sizes.index(larger[0].imgsz)
    for size in sizes[max(0, at - 1) : at + MOST]:
        above = next(one for one in larger if sizes.index(one.imgsz) <= sizes.index(size))
        try:
            found.append(_cut_at(problem, above, share, size))
        except (BudgetError, ConfigError) as exc:
            refused = refused or exc
            continue
        if found[-1].network == above.best:
            break  # the input alone does it
    if not found:
        assert refused is not None
        raise refused
    if len(found) == 1:
        return found
    scored = [one._replace(score=score_of(problem, one.network, one.imgsz)) for one in found]
    return sorted(scored, key=lambda one: -(one.score or 0.0))


def score_of(problem: Problem, network: Artifact, imgsz: ImageSize) -> float:
    """Return the score of a network in float on val, at an input size."""
    return torch_accuracy(problem.context.at(imgsz), network)


def levers_of(
    problem: Problem, proposals: Sequence[Proposal], recovered: Mapping[Proposal, float], taken: Proposal
) -> tuple[Lever, ...]:
    """Return the account of the proposals for one size; nothing where there was one only.

    Args:
        recovered: score on val after the short recovery, of those that got one.
    """
    metric = problem.context.info.metric
    return tuple(
        Lever(
            metric=metric,
            imgsz=one.imgsz,
            width=one.width,
            blocks=len(lost_blocks(problem, one.network)),
            score=one.score,
            recovered=recovered.get(one),
            taken=one == taken,
        )
        for one in proposals
        if one.score is not None
    )


def _cut_at(problem: Problem, above: Entry, share: float, imgsz: ImageSize) -> Proposal:
    """Return a network of a share of the cost at an input size: the one above, or that cut further."""
    scale = cost_at(problem, imgsz)
    table, context = problem.table, problem.context.at(imgsz)
    width, network = share / scale, above.best
    if width >= above.width * SAME:
        width = above.width
    elif table is not None:
        network, predicted = cut(context, above.best, table, width * table.whole_ms)
        width = predicted / table.whole_ms
    else:
        network, _ = cut_to_size(asking(context, macs=width), above.best, problem.profile, problem.uncut)
    predicted_ms = width * scale * table.whole_ms if table else None
    return Proposal(network, imgsz, width, predicted_ms, above.passes, cut_from=above.tried.share)
