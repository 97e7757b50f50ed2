"""Everything a report shows, read once from a build folder: the summary and the samples behind its rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.errors import DataError
from edgeprune.core.files import inside, write_text_atomically
from edgeprune.records.bench_result import BenchResult, load_result
from edgeprune.records.pruning import Pruning
from edgeprune.records.summary import Row, Summary, load_summary


@dataclass(frozen=True)
class Report:
    """One build.

    Attributes:
        folder: the build folder; paths in the summary are relative to it.
        benches: the measurements that could be read, by row label.
        unreadable: what could not be read, one sentence each.
        number: the number that stands for a row in tables and charts, by row label, from 1.
    """

    folder: Path
    summary: Summary
    benches: dict[str, BenchResult]
    unreadable: tuple[str, ...]
    number: dict[str, int]

    @property
    def reference(self) -> Row | None:
        """The row that every speed-up is relative to."""
        return next((row for row in self.summary.rows() if row.label == self.summary.reference), None)

    def measured(self) -> list[tuple[Row, BenchResult]]:
        """Return the rows that have samples, with their measurement, in order."""
        found = [(row, self.benches.get(row.label)) for row in self.summary.rows()]
        return [
            (row, bench)
            for row, bench in found
            if bench is not None and any(block.samples_ns for block in bench.blocks)
        ]

    def tone(self, row: Row) -> str:
        """Return ``chosen``, ``best`` (chosen on its target only), ``refused``, or an empty string."""
        chosen, local = self.summary.chosen, self.summary.targets[row.target].chosen
        if chosen is not None and row.label == chosen.label:
            return "chosen"
        if local is not None and row.label == local.label:
            return "best"
        return "refused" if row.refused else ""

    def prunings(self) -> list[tuple[list[str], Pruning]]:
        """Return each distinct pruning with the names of the targets that share it."""
        found: list[tuple[list[str], Pruning]] = []
        for name, target in self.summary.targets.items():
            if target.pruning is None:
                continue
            shared = next((names for names, pruning in found if pruning == target.pruning), None)
            if shared is None:
                found.append(([name], target.pruning))
            else:
                shared.append(name)
        return found


def load_report(folder: Path) -> Report:
    """Read a build folder. A measurement that is gone or damaged is named, never invented.

    Raises:
        NotComparableError: the folder holds no summary of this schema version.
    """
    summary = load_summary(folder)
    benches: dict[str, BenchResult] = {}
    unreadable: list[str] = []
    for row in summary.rows():
        if row.bench is None:
            continue
        try:
            benches[row.label] = load_result(inside(folder, row.bench, DataError))
        except DataError as exc:
            unreadable.append(f"the samples of {row.label} cannot be read: {exc}")
    number = {row.label: index for index, row in enumerate(summary.rows(), start=1)}
    return Report(folder, summary, benches, tuple(unreadable), number)


def save_page(path: Path, text: str) -> Path:
    """Write a report whole or not at all, and return its path.

    Raises:
        OutputError: the place cannot be written.
    """
    write_text_atomically(path, text)
    return path
