"""What making a network smaller reports: sparse training, passes, cuts and the widths that are left."""

from __future__ import annotations

from typing import Final, Literal

from edgeprune.images.size import ImageSize
from edgeprune.records.resampling.interval import Interval, counted_drop
from edgeprune.records.scores import Record, ScoredRecord
from edgeprune.records.speedup import Speedup


class LayerWidth(Record):
    """Output channels of one convolution before and after pruning; 0 where its block went."""

    layer: str
    before: int
    after: int
    prunable: bool = True


GAMMA_QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
SMALL_GAMMA: Final = 0.01
"""A batch-norm scale below this passes next to nothing on."""


class SparseEpoch(ScoredRecord):
    """The batch-norm scales of the prunable channels after one epoch of sparse training.

    Attributes:
        epoch: from 1; 0 is before the training.
        strength: of the regulariser in this epoch; null before the training.
        quantiles: of the absolute scales, at `GAMMA_QUANTILES`.
        share_small: share of the absolute scales below `SMALL_GAMMA`.
        score: of the averaged weights on val, as the trainer measured it.
    """

    epoch: int
    strength: float | None
    quantiles: tuple[float, ...]
    share_small: float
    score: float | None


class SparseTraining(Record):
    """Training with a regulariser before the cut: `sparse.json` is this."""

    criterion: str
    strength: float
    epochs: tuple[SparseEpoch, ...]


PassName = Literal["depth", "rewrite", "activation"]


class PassReport(ScoredRecord):
    """What a pass before width pruning changed, and what it left for being no faster or too costly.

    Attributes:
        applied: what was changed, one phrase each; empty when the pass was undone.
        refused: what was not, and why, one sentence each.
        ms_before, ms_after: on the target, measured; null when the target is not measured here.
        score_before, score_after: on val, before any training; null when nothing was tried.
    """

    name: PassName
    applied: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    ms_before: float | None = None
    ms_after: float | None = None
    score_before: float | None = None
    score_after: float | None = None


class Iteration(ScoredRecord):
    """One cut on the way to a latency.

    Attributes:
        goal_ms: what was aimed at; the table is asked for less where it was too hopeful before.
        predicted_before_ms, predicted_ms: what the table says of the widths before the cut and after it.
        before_ms, measured_ms: p50 of the model before the cut and after it, measured in pairs.
        change: median of (time after / time before) - 1 over the pairs.
        score: on val, after the short recovery; null without one.
        refused: why the cut was not kept; empty when it was.
    """

    goal_ms: float
    predicted_before_ms: float
    predicted_ms: float
    before_ms: float
    measured_ms: float
    change: float
    score: float | None = None
    refused: str = ""


class Lever(ScoredRecord):
    """One way to the cost of a rung: an input size, and the widths that are cut to at it.

    Attributes:
        width: share of the uncut network's cost that widths and depth leave.
        blocks: how many of the uncut network's blocks are gone.
        score: on val right after surgery, in float, before any training.
        recovered: the same after the short recovery; null where it did not get one.
        taken: whether the rung was made so.
    """

    imgsz: ImageSize
    width: float
    blocks: int = 0
    score: float
    recovered: float | None = None
    taken: bool


class Rung(ScoredRecord):
    """A size that was tried in the search for the fastest network within the accuracy budget.

    Attributes:
        share: of the uncut network's cost that was aimed at.
        cut_from: share of the size that it was cut from; null of the uncut network, and in results of older
            versions.
        predicted_ms: latency by the target's table; null where that was not to be had.
        gain: over the user's own network on the target, measured in turns; null where it is not measured.
        params: share of the user's own network's parameters.
        blocks: how many of the uncut network's blocks are gone.
        imgsz: size of the input; null in results of older versions: the build's own.
        levers: what else would have had that cost; empty where nothing else was tried.
        short, long: drop of `metric` on val after the short recovery, and after the long one; null where
            there was none.
        short_interval, long_interval: 95 % intervals of these drops, see `Accuracy`.
        slow: whether the target did not run it faster than the size before it, so that it was not trained.
        as_cut: whether `short` is of the network right after the cut, which no short recovery made better.
        chosen: whether the search ended with it.
    """

    share: float
    cut_from: float | None = None
    predicted_ms: float | None = None
    gain: Speedup | None = None
    params: float
    blocks: int = 0
    imgsz: ImageSize | None = None
    levers: tuple[Lever, ...] = ()
    short: float | None = None
    short_interval: Interval | None = None
    long: float | None = None
    long_interval: Interval | None = None
    slow: bool = False
    as_cut: bool = False
    chosen: bool = False

    def better(self, sure: bool) -> tuple[float, Interval | None] | None:
        """Return the drop, with its interval, of the better of its two networks; None where none was judged.

        Args:
            sure: whether the upper ends of the intervals are compared.
        """
        both = ((self.long, self.long_interval), (self.short, self.short_interval))
        judged = [(drop, interval) for drop, interval in both if drop is not None]
        return min(judged, key=lambda one: counted_drop(one[0], one[1], sure), default=None)

    def counted(self, sure: bool) -> float | None:
        """Return what the budget is held against, see `counted_drop`; None where none was judged."""
        better = self.better(sure)
        return counted_drop(better[0], better[1], sure) if better else None


SearchEnd = Literal["done", "time", "interrupted"]


class BudgetSearch(ScoredRecord):
    """The search for the fastest network within the accuracy budget.

    Attributes:
        cost: what shares are of: ``latency`` by the target's table, or ``macs``.
        budget: the drop that was allowed.
        sure: whether the whole interval of a drop had to keep to it.
        precision: of the artifacts that were judged, on the target's runtime.
        epochs_short, epochs_long: of the two recoveries.
        left: share of a short recovery's drop that long ones have left, the median; null without any.
        rungs: in the order in which they were tried.
        ended: whether the plan was done, the time was up, or Ctrl-C ended it.
        notes: what else there is to know, one sentence each.
    """

    cost: Literal["latency", "macs"]
    budget: float
    sure: bool = False
    precision: str
    epochs_short: int
    epochs_long: int
    left: float | None = None
    rungs: tuple[Rung, ...]
    ended: SearchEnd = "done"
    notes: tuple[str, ...] = ()


class Limit(Record):
    """The most that one threshold over all channels may remove: above it the first layer would be empty.

    Attributes:
        threshold: on the criterion's scores: channels below it go.
        ratio: the share of all prunable channels that is.
        layer: the one that would be empty first.
    """

    threshold: float
    ratio: float
    layer: str


class Pruning(ScoredRecord):
    """What surgery and recovery did to the network.

    Attributes:
        limit: of a ranking of all channels together; null where each group is ranked by itself.
        whole: blocks, with their classes, that kept all channels as the dependency graph cannot follow them.
        dropped: blocks that went whole for a latency; those of a depth pass are in `passes`.
    """

    criterion: str
    goal: str
    ratio: float
    step: int
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    score_after_surgery: float | None = None
    score_after_recovery: float | None = None
    layers: tuple[LayerWidth, ...] = ()
    limit: Limit | None = None
    whole: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    sparse: SparseTraining | None = None
    iterations: tuple[Iteration, ...] = ()
    passes: tuple[PassReport, ...] = ()
    search: BudgetSearch | None = None
