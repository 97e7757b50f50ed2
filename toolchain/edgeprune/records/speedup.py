"""A speed-up with its interval: the one type that rows, verdicts and reports tell it by."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from edgeprune.records.scores import Record

DISTURBING: Final = ("contended", "throttled", "swap")
"""Flags of runs that the machine disturbed: of such a run only the lower end of an interval is claimed."""


class Speedup(Record):
    """How many times as fast something is as what took turns with it; `bench/side_by_side.py` computes it.

    Attributes:
        times: the estimate; above 1 it is faster.
        low, high: 95 % interval; None where there were too few turns for one, or none.
        turns: pairs of turns that it stands on; 0 for the ratio of two medians that were not measured in
            turns.
        disturbed: whether a flag of `DISTURBING` stands on one of both runs: then only `low` is claimed.
    """

    times: float = Field(gt=0)
    low: float | None = None
    high: float | None = None
    turns: int = 0
    disturbed: bool = False

    @classmethod
    def of_medians(cls, before_ms: float, after_ms: float) -> Speedup:
        """Return the ratio of two times that did not share the machine's moods: nothing bounds its error."""
        return cls(times=before_ms / after_ms)

    @property
    def proven(self) -> bool:
        """Whether the whole interval is above 1; without one, whether the estimate is."""
        return (self.times if self.low is None else self.low) > 1

    @property
    def tied(self) -> bool:
        """Whether the interval holds 1: which of both is faster was not told apart."""
        return self.low is not None and self.high is not None and self.low <= 1 <= self.high

    @property
    def interval(self) -> str:
        """Such as ``3.81x to 4.05x``; empty without one."""
        return "" if self.low is None else f"{self.low:.2f}x to {self.high:.2f}x"

    @property
    def claim(self) -> str:
        """What may be said of it: with its interval, or "at least", or of a disturbed run perhaps nothing."""
        if not self.disturbed:
            return f"{self.times:.2f}x" + (f" ({self.interval})" if self.interval else "")
        return f"at least {self.low:.2f}x" if self.low is not None and self.low > 1 else ""

    @property
    def words(self) -> str:
        """Such as ``2.00 times as fast``; of a disturbed run ``at least 1.80 times as fast``, or nothing."""
        if not self.disturbed:
            return f"{self.times:.2f} times as fast"
        return f"at least {self.low:.2f} times as fast" if self.low is not None and self.low > 1 else ""
