"""Which row ships on each device, and why; where nothing was chosen, why not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from edgeprune.report.cells import MISSING, Cell, Head, Table, number, plain, table, word
from edgeprune.report.certainty import drop_cell
from edgeprune.report.devices.entries import DeviceLine, Figures
from edgeprune.report.devices.tables import measured
from edgeprune.report.tables import speedup_cell

NOTHING = "Nothing was chosen on "
"""How each reason begins why nothing ships."""
_JUDGED = "bench judges no budget"


def ship_table(lines: Sequence[DeviceLine]) -> Table:
    """Show which row ships on each device and what it costs; `reasons` says why.

    Of a result of `bench` it is the fastest row that its build allows, and said to be so. A device without
    either has no line here.
    """
    heads = [Head("#"), Head("device", numeric=False), Head("ship", numeric=False), Head("p50", "ms")]
    heads += [Head("speed-up", "×"), Head("loses"), Head("peak", "MB")]
    return table(heads, [_ship_cells(line, one) for line, one in _ships(lines) if one is not None])


def _ship_cells(line: DeviceLine, one: Figures) -> list[Cell]:
    row = one.row
    only = "" if line.shipped else ", the fastest that its build allows"
    lost = (
        drop_cell(row.drop, row.drop_interval, "not evaluated there")
        if row
        else number(None, why="not evaluated there")
    )
    return [
        Cell(str(line.number)),
        word(line.device),
        word(f"{one.variant}{only}, {line.source.letter}: {line.runs}"),
        measured(one, one.p50_ms, 2),
        speedup_cell(row) if row else Cell(MISSING, "bench compares with no original"),
        Cell(f"{lost.text} {plain(row.metric)}") if row and not lost.why else lost,
        number(one.peak_mb),
    ]


def reasons(lines: Sequence[DeviceLine]) -> list[str]:
    """Return why the rows of `ship_table` ship, then why nothing does on the other devices.

    Devices of which the same is said share a sentence.
    """
    ships: dict[str, list[DeviceLine]] = {}
    others: dict[str, list[DeviceLine]] = {}
    for line, one in _ships(lines):
        (others if one is None else ships).setdefault(_why(line, one, lines), []).append(line)
    return [
        plain(f"{what}{_named(found)}: {why}")
        for what, told in (("", ships), (NOTHING, others))
        for why, found in told.items()
    ]


def _named(lines: Sequence[DeviceLine]) -> str:
    """Name a few lines by number and device, many by their numbers."""
    if len(lines) < 4:
        return "; ".join(f"{line.number}, {line.device}" for line in lines)
    return f"{len(lines)} devices ({', '.join(_ranges(line.number for line in lines))})"


def _ranges(numbers: Iterable[int]) -> Iterator[str]:
    """Yield rising numbers in words, those that follow each other as one: 2, 4 to 9."""
    runs: list[list[int]] = []
    for value in numbers:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    for run in runs:
        yield f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0])


def _ships(lines: Sequence[DeviceLine]) -> list[tuple[DeviceLine, Figures | None]]:
    """Return for each device, source and subject its fastest choice: its targets compete for one place."""
    groups: dict[tuple[str, str, str], list[tuple[DeviceLine, Figures | None]]] = {}
    for line in lines:
        one = line.of(line.shipped) if line.shipped else _fastest(line, lines)
        groups.setdefault((line.source.letter, line.device, line.subject.key), []).append((line, one))

    def speed(found: tuple[DeviceLine, Figures | None]) -> tuple[bool, float]:
        p50 = found[1].p50_ms if found[1] else None
        return p50 is None, p50 or 0.0

    return [min(group, key=speed) for group in groups.values()]


def _allowed(line: DeviceLine, lines: Sequence[DeviceLine]) -> list[Figures]:
    """Return the runs of a result of `bench` that are of rows that a given build holds and allows."""
    allowed = {
        one.sha256 for other in lines for one in other.figures if one.row is not None and not one.refused
    }
    return [one for one in line.figures if one.row is None and one.sha256 and one.sha256 in allowed]


def _fastest(line: DeviceLine, lines: Sequence[DeviceLine]) -> Figures | None:
    """Return the fastest fit run of a result of `bench` of which a given build allows the row."""
    fit = [one for one in _allowed(line, lines) if one.p50_ms is not None and not one.unfit]
    return min(fit, key=lambda one: one.p50_ms or 0.0, default=None)


def _why(line: DeviceLine, one: Figures | None, lines: Sequence[DeviceLine]) -> str:
    if line.verdict:
        unfit = one.unfit if one else ""
        before = f"Measured in a run flagged {unfit}: measure again before it ships. " if unfit else ""
        return f"{before}{line.verdict}"
    if one is None and _allowed(line, lines):
        return f"{_JUDGED}, and each run there of a row that its build allows was unfit: measure again."
    if one is None:
        return f"{_JUDGED}, and no given build holds and allows what ran there."
    return f"{_JUDGED}; of the rows that the build allows {one.variant} is the fastest here."
