"""The ways to one size: timed, and given the short recovery where they need it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgeprune.core.artifact import Artifact
from edgeprune.pipeline.context import SELECTION_SPLIT
from edgeprune.pipeline.solve.judge import is_no_faster
from edgeprune.pipeline.solve.levers import Proposal, score_of
from edgeprune.pipeline.solve.rungs import Entry, Gains, Problem, SizedNetwork, time_network


class Recovery(NamedTuple):
    """The short recovery.

    Attributes:
        epochs: 0 where nothing is trained.
        train: returns a network after so many epochs.
        say: tells the user.
    """

    epochs: int
    train: Callable[[SizedNetwork, int], Artifact]
    say: Callable[[str], None]


class Rival(NamedTuple):
    """A proposal after the short recovery.

    Attributes:
        network: the better one, of before and after.
        score: its score in float on val; None where nothing is trained, and so nothing compared.
        recovered: score after the recovery; None without one.
    """

    made: Proposal
    network: Artifact
    score: float | None = None
    recovered: float | None = None

    @property
    def as_cut(self) -> bool:
        """Whether no recovery made it better."""
        return self.network == self.made.network


def recover_rivals(
    problem: Problem, proposals: Sequence[Proposal], above: Entry, beside: SizedNetwork, recovery: Recovery
) -> tuple[list[Rival], dict[Proposal, Gains | None]]:
    """Time the ways to a size, the best one first, and give what is faster than above its short recovery.

    Where the best one needs none, the others are left alone.

    Args:
        above: the next larger size.
        beside: what that is measured as.

    Returns:
        those that are faster; what was timed.
    """
    kept: list[Rival] = []
    timed: dict[Proposal, Gains | None] = {}
    for one in proposals:
        if not one.differs_from(above):
            continue
        gains = timed[one] = time_network(problem, SizedNetwork(one.network, one.imgsz), beside)
        if gains and is_no_faster(gains.above):
            continue
        kept.append(_recover(problem, one, recovery))
        if kept[0].recovered is None:
            break
    return kept, timed


def _recover(problem: Problem, made: Proposal, recovery: Recovery) -> Rival:
    """Give a proposal the short recovery where it lost too much, and keep that where it helped.

    After a light cut a few epochs may do harm: BCCD, YOLOv8n cut to 62 % of its latency, 224 px, .5428
    right after the cut and .5384 after six of them (2026-11-30).
    """
    if not recovery.epochs:
        return Rival(made, made.network)
    before = score_of(problem, made.network, made.imgsz) if made.score is None else made.score
    if problem.baseline[SELECTION_SPLIT].score - before <= problem.budget:
        return Rival(made, made.network, before)
    network = recovery.train(SizedNetwork(made.network, made.imgsz), recovery.epochs)
    after = score_of(problem, network, made.imgsz)
    if after < before:
        metric = problem.context.info.metric
        recovery.say(f"{metric} {before:.4f} after the cut, {after:.4f} trained: left as cut")
        return Rival(made, made.network, before, after)
    return Rival(made, network, after, after)
