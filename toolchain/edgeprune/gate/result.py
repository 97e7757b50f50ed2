"""What the gate hands back: pairs, the verdict on each metric, and the numbers that it stands on."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from edgeprune.core.errors import EdgepruneError
from edgeprune.gate.decision import Verdict
from edgeprune.records.bench_result import Flag
from edgeprune.records.resampling.interval import Interval

SCHEMA_VERSION = 1


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pair(_Record):
    """One fresh process of each side. A pair that the machine disturbed is kept, but not counted.

    Attributes:
        turns_ratio: time of the candidate over the baseline's by their turns (`bench/side_by_side.py`); None
            in files of before it was told, or where no turn could be used.
        baseline_p90_ms, candidate_p90_ms, and those of p99: None with too few samples for that percentile.
    """

    order: Literal["AB", "BA"]
    baseline_ms: float
    candidate_ms: float
    baseline_fps: float
    candidate_fps: float
    turns_ratio: float | None = None
    baseline_p90_ms: float | None = None
    candidate_p90_ms: float | None = None
    baseline_p99_ms: float | None = None
    candidate_p99_ms: float | None = None
    disturbed_by: tuple[Flag, ...] = ()

    @property
    def latency_log_ratio(self) -> float:
        """log(p50 of the candidate / p50 of the baseline): positive when the candidate is slower."""
        return math.log(self.candidate_ms / self.baseline_ms)

    @property
    def turns_log_ratio(self) -> float:
        """`latency_log_ratio` by the turns, free of what cut into them; as it is where they do not tell."""
        return self.latency_log_ratio if self.turns_ratio is None else math.log(self.turns_ratio)

    @property
    def fps_log_ratio(self) -> float:
        """log(FPS of the baseline / FPS of the candidate): positive when the candidate is slower."""
        return math.log(self.baseline_fps / self.candidate_fps)


class AccuracyPair(_Record):
    """Scores of both sides on the same images, and the largest drop allowed, absolute.

    Attributes:
        baseline: None where it is not known by the candidate's metric: then only budgets are judged.
        drop_interval: 95 % interval of the drop, see `Accuracy`; None where a build kept no resamples.
        images: that both were evaluated on; 0 where that does not matter.
    """

    baseline: float | None
    candidate: float
    max_drop: float
    metric: str
    drop_interval: Interval | None = None
    images: int = 0


class MetricVerdict(_Record):
    """The verdict on one metric, with the sentence that supports it and its numbers.

    Attributes:
        verdict: ``advisory`` for what is shown and decides nothing.
        budget: whether it is an absolute budget of the candidate, not a comparison.
        baseline, candidate: in `unit`: medians over the counted pairs or runs; None where not measured.
        p_value: of the sequential test, all looks together; None for what no test decides.
    """

    name: str
    verdict: Verdict | Literal["advisory"]
    evidence: str
    budget: bool = False
    baseline: float | None = None
    candidate: float | None = None
    unit: str = ""
    p_value: float | None = None


class Failure(_Record):
    """What ended a check before its verdict.

    Attributes:
        kind: name of the error's class in `edgeprune.core.errors`; ``NotEnded`` of a check that has not
            ended.
        message: one line: what was wrong, where, what to do.
        exit_code: of the command; None of one that has not ended.
    """

    kind: str
    message: str
    exit_code: int | None

    @classmethod
    def of(cls, error: EdgepruneError) -> Failure:
        """Return what a report says of an error."""
        return cls(kind=type(error).__name__, message=" ".join(str(error).split()), exit_code=error.exit_code)


NOT_ENDED = Failure(
    kind="NotEnded",
    message="the check has not ended: it is still running, or it was killed",
    exit_code=None,
)


class GateResult(_Record):
    """Everything the verdict stands on.

    Attributes:
        verdict: ``fail`` when any metric fails, ``pass`` when all pass, else ``inconclusive``.
        tau: the one that was used, whether given or by default.
        pairs: in the order they were run, disturbed ones included.
        baseline, candidate: name, digest and identity of each side.
        notes: what the reader should know beside the verdict.
    """

    schema_version: int = SCHEMA_VERSION
    verdict: Verdict
    tau: float
    metrics: tuple[MetricVerdict, ...]
    pairs: tuple[Pair, ...]
    baseline: dict[str, Any]
    candidate: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def counted(self) -> tuple[Pair, ...]:
        """The pairs that the machine did not disturb."""
        return tuple(pair for pair in self.pairs if not pair.disturbed_by)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The evidence of the metrics that decided the verdict."""
        return tuple(f"{m.name}: {m.evidence}" for m in self.metrics if m.verdict == self.verdict)

    @property
    def regressed(self) -> bool:
        """Whether a comparison failed, not only a budget."""
        return any(metric.verdict == "fail" and not metric.budget for metric in self.metrics)


def overall(metrics: tuple[MetricVerdict, ...]) -> Verdict:
    """Return the verdict of the gate as a whole."""
    verdicts = {metric.verdict for metric in metrics}
    if "fail" in verdicts:
        return "fail"
    return "inconclusive" if "inconclusive" in verdicts else "pass"
