"""The first thing that a report says: one claim, over one reference, with what speaks against it."""

from __future__ import annotations

from pathlib import PurePosixPath

from edgeprune.pipeline.sanity import UNFIT
from edgeprune.records.summary import Row, Summary


def heading(summary: Summary) -> str:
    """Return one short sentence, without its full stop: what was chosen and how much faster it is.

    A chosen row whose run was unfit is named so, and so is what may be as fast. No more is said of its
    speed-up than the run proves.
    """
    row = summary.chosen
    if row is None:
        if not any(one.p50_ms is not None for one in summary.rows()):
            return "Nothing was measured: the device was not there"
        return "No row keeps to every budget" if summary.nearest_miss else "No row could be chosen"
    claim = f"{row.p50_ms:.2f} ms at p50" if row.p50_ms is not None else "it was not measured"
    gain = row.over_reference
    if gain and gain.claim and summary.reference and summary.reference != row.label:
        times = gain.claim.partition(" (")[0]  # the interval stands below
        claim = f"{times} as fast as {summary.reference}"
    caveat = f", measured in a run flagged {unfit_by(row)}" if unfit_by(row) else ""
    if summary.tied:
        caveat += f", not told apart in speed from {', '.join(summary.tied)}"
    return f"{row.label} is chosen: {claim}{caveat}"


def done_on(summary: Summary) -> str:
    """Say what the machine of the build did: where no row has a latency, it measured nothing."""
    return "Measured on" if any(row.p50_ms is not None for row in summary.rows()) else "Built on"


def unfit_by(row: Row) -> str:
    """Name the flags that make the run of a row unfit to be believed; empty for a fit one."""
    return ", ".join(flag for flag in row.flags if flag in UNFIT)


def chosen_place(row: Row) -> str:
    """Return where a user finds the chosen engine, relative to the build folder."""
    return f"best/{PurePosixPath(row.artifact).name}"
