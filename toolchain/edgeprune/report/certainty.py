"""How sure a drop of accuracy is, in the words and cells of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from edgeprune.records.resampling.interval import Interval
from edgeprune.records.speedup import Speedup
from edgeprune.records.summary import Summary
from edgeprune.report.cells import Cell, number, plain

NOTHING = 5e-5
"""Less is shown as 0: two runtimes add up the same network in another order."""
MINUS = "\N{MINUS SIGN}"
CONFIDENCE = "[ ]: 95 % interval of a drop, by a paired bootstrap over the images"
Room = Literal["ends", "reach", "none"]
LEGENDS: dict[Room, str] = {
    "ends": CONFIDENCE,
    "reach": "±: how far the 95 % interval of a drop reaches, by a paired bootstrap over the images",
    "none": "",
}
"""What a terminal has room for, and what it says of it."""


def interval_text(interval: Interval | None) -> str:
    """Return an interval in brackets, with real minus signs; nothing where nothing differs."""
    if interval is None or max(map(abs, interval)) < NOTHING:
        return ""
    low, high = (number(end, 3).text for end in interval)
    return f"[{low}, {high}]"


def drop_cell(drop: float | None, interval: Interval | None = None, why: str = "not evaluated") -> Cell:
    """Show a drop with its interval where it has one, such as ``0.0038 [\N{MINUS SIGN}0.004, 0.012]``."""
    told = interval_text(interval) if drop is not None else ""
    return number(drop, 4, why, suffix=f" {told}" if told else "")


def brief_cell(drop: float | None, interval: Interval | None, room: Room) -> Cell:
    """Show a drop on a terminal, its interval without the zeros before the points.

    Args:
        room: for both ends of the interval, for how far the farther one is from the drop, or for neither.
    """
    told = ""
    if drop is not None and interval_text(interval) and interval:
        if room == "ends":
            told = f" [{', '.join(_brief(end) for end in interval)}]"
        elif room == "reach":
            told = f" ±{_brief(max(drop - interval[0], interval[1] - drop))}"
    return number(drop, 4, suffix=told)


def aligned(drops: Sequence[Cell]) -> list[Cell]:
    """Return the cells of a column with room where an interval is missing, so that the numbers line up."""
    told = [cell.text.partition(" ")[2] for cell in drops]
    room = max(map(len, told), default=0)
    return [
        replace(cell, text=f"{cell.text.partition(' ')[0]} {end.ljust(room)}") if room else cell
        for cell, end in zip(drops, told, strict=True)
    ]


def _brief(value: float) -> str:
    text = number(value, 3).text
    whole, _, rest = text.partition(".")
    return f"{whole.removesuffix('0')}.{rest}" if whole in ("0", f"{MINUS}0") else text


def shows_intervals(summary: Summary) -> bool:
    """Tell whether any row has an interval of its drop."""
    return any(row.drop_interval or (row.val and row.val.drop_interval) for row in summary.rows())


def optimism(summary: Summary) -> str:
    """Say what the chosen row loses on other images than those that it was chosen on.

    Empty where nothing was chosen, or drops are not known.
    """
    row, split, selection = summary.chosen, summary.split, summary.selection_split
    if row is None or row.val is None or row.val.drop is None:
        return ""
    if split == selection:
        return (
            f"There is no test split: the drop of {plain(row.label)} is on the images that it was chosen on, "
            "and may be larger on others."
        )
    if row.optimism is None:
        return ""
    there, here = (
        drop_cell(drop, interval).text
        for drop, interval in ((row.val.drop, row.val.drop_interval), (row.drop, row.drop_interval))
    )
    return (
        f"{plain(row.label)} loses {there} {plain(row.metric)} on {selection}, which it was chosen on, and "
        f"{here} on {split}: the optimism of the choice is {number(row.optimism, 4).text}."
    )


def gain_cell(gain: Speedup | None, why: str, how: str = "disturbed", interval: bool = True) -> Cell:
    """Show a speed-up with its interval; of a disturbed run only what it is at least.

    Args:
        why: there is none.
        how: the run was that is not to be trusted.
        interval: show it.
    """
    if gain is None:
        return number(None, 2, why)
    if gain.low is None or gain.high is None:
        known = gain.times if not gain.disturbed else None
        return number(known, 2, f"the run was {how} and too short for an interval")
    if gain.low == gain.high:  # the reference beside itself
        return number(gain.times, 2)
    if gain.disturbed:
        return number(gain.low, 2, prefix="\N{GREATER-THAN OR EQUAL TO} ")
    return number(gain.times, 2, suffix=f" ({gain.low:.2f}\N{EN DASH}{gain.high:.2f})" if interval else "")
