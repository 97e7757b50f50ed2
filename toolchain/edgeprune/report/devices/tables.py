"""The tables of a page of many devices: devices down, variants across, one table a kind of number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from edgeprune.config.targets import PRECISIONS
from edgeprune.report.cells import MISSING, Cell, Head, Table, number, plain, table, word
from edgeprune.report.devices.entries import DeviceLine, Figures, Subject

_LINE = (Head("#"), Head("device", numeric=False), Head("target and runtime", numeric=False))
_NO_ROW = "no such row in this build"
_ELSEWHERE = {"accuracy_on_host": "build's machine", "accuracy_emulated": "emulator"}
"""Whose arithmetic an accuracy is of, where the device was not there, by the flag of its row."""
# A kind of number: the title of its table, its value of a row, and the digits shown.
_KINDS: dict[str, tuple[str, Callable[[Figures], float | None], int]] = {
    "latency": ("Latency, p50 in ms", lambda one: one.p50_ms, 2),
    "memory": ("Peak memory in MB", lambda one: one.peak_mb, 0),
    "energy": ("Energy of an inference above idle in mJ", lambda one: one.milli_j, 1),
}


@dataclass(frozen=True)
class Part:
    """What is of one model and one data set: nothing of another part is put beside it."""

    subject: Subject
    lines: tuple[DeviceLine, ...]

    @property
    def variants(self) -> tuple[str, ...]:
        """The columns: every variant of any line, those of a kind together, by falling precision."""
        found = list(dict.fromkeys(one.variant for line in self.lines for one in line.figures))
        kinds = list(dict.fromkeys(name.rpartition(" ")[0] for name in found))
        return tuple(sorted(found, key=lambda name: (kinds.index(name.rpartition(" ")[0]), _rank(name))))


def _rank(variant: str) -> int:
    precision = variant.rpartition(" ")[2]
    return next((place for place, known in enumerate(PRECISIONS) if known == precision), len(PRECISIONS))


def parts_of(lines: Sequence[DeviceLine]) -> tuple[Part, ...]:
    """Return the lines grouped by what they are of, in their order."""
    subjects = dict.fromkeys(line.subject for line in lines)
    return tuple(
        Part(subject, tuple(line for line in lines if line.subject == subject)) for subject in subjects
    )


def number_tables(part: Part) -> Iterator[tuple[str, Table]]:
    """Yield the tables of a part with their titles: latency, memory, energy, and each metric of accuracy."""
    for kind, (title, value, digits) in _KINDS.items():
        if any(value(one) is not None for line in part.lines for one in line.figures):
            yield title, _matrix(part, partial(_number, value=value, digits=digits), kind == "energy")
    for metric, split in _metrics(part):
        yield f"{metric} on {split}", _matrix(part, partial(_accuracy, metric=metric))


def untold(part: Part) -> str:
    """Say which kinds of number nobody measured; empty where there is some of each."""
    figures = [one for line in part.lines for one in line.figures]
    lacking = [kind for kind, (_, value, _) in _KINDS.items() if all(value(one) is None for one in figures)]
    lacking += [] if _metrics(part) else ["accuracy"]
    return f"Measured nowhere, so no table: {', '.join(lacking)}." if lacking else ""


def _metrics(part: Part) -> list[tuple[str, str]]:
    """Return each metric with the split that it is of: two of them never share a column."""
    found = {
        (plain(one.row.metric), plain(line.split)): None
        for line in part.lines
        for one in line.figures
        if one.row is not None and one.row.score is not None
    }
    return list(found)


def _matrix(part: Part, cell: Callable[[Figures], Cell], rails: bool = False) -> Table:
    """Return a table of one kind of number; a variant of which no device has one gets no column."""
    columns = {
        variant: [cell(one) if (one := line.of(variant)) else Cell(MISSING, _NO_ROW) for line in part.lines]
        for variant in part.variants
    }
    columns = {name: cells for name, cells in columns.items() if any(one.text != MISSING for one in cells)}
    heads = [*_LINE, *map(Head, columns)]
    rows = []
    for place, line in enumerate(part.lines):
        rows.append([*line_cells(line), *(cells[place] for cells in columns.values())])
        if rails:
            of = {one.rails: None for one in line.figures if one.rails}
            rows[-1].append(word("; ".join(of), "no sensor told"))
    return table([*heads, *([Head("measured by", numeric=False)] if rails else [])], rows)


def line_cells(line: DeviceLine) -> list[Cell]:
    """Return the cells that name a line in every table."""
    return [Cell(str(line.number)), word(line.device), word(f"{line.source.letter}: {line.runs}")]


def _number(one: Figures, value: Callable[[Figures], float | None], digits: int) -> Cell:
    return measured(one, value(one), digits)


def measured(one: Figures, value: float | None, digits: int) -> Cell:
    """Show a measured number; that its run was unfit, or its row is refused, stands beside it."""
    if value is None:
        return number(None, digits)
    said = [f"unfit: {one.unfit}"] if one.unfit else []
    said += ["refused"] if one.refused else []
    return number(value, digits, suffix=f" ({'; '.join(said)})" if said else "")


def _accuracy(one: Figures, metric: str) -> Cell:
    row = one.row
    if row is None or row.score is None or plain(row.metric) != metric:
        return Cell(MISSING, "not evaluated" if row else "bench evaluates no accuracy")
    elsewhere = next((where for flag, where in _ELSEWHERE.items() if flag in row.flags), None)
    return number(row.score, 4, suffix=f" ({elsewhere})" if elsewhere else "")


def notes_table(lines: Sequence[DeviceLine]) -> Table:
    """List what speaks against rows: why they are refused, and what made their runs unfit."""
    rows = [
        [Cell(str(line.number)), word(one.variant), word(said)]
        for line in lines
        for one in line.figures
        for said in (
            *(f"refused: {why}" for why in one.refused),
            *(f"unfit run: {why}" for why in one.evidence),
        )
    ]
    return table([Head("#"), Head("row", numeric=False), Head("what", numeric=False)], rows)


def sources_table(lines: Sequence[DeviceLine]) -> Table:
    """List what the page was made from."""
    sources = {line.source.letter: line.source for line in lines}
    heads = [Head("", numeric=False), Head("path", numeric=False), Head("what", numeric=False)]
    heads.append(Head("lines", numeric=False))
    return table(
        heads,
        [
            [
                Cell(letter),
                word(source.path),
                word(source.words),
                word(", ".join(str(line.number) for line in lines if line.source.letter == letter)),
            ]
            for letter, source in sorted(sources.items())
        ],
    )
