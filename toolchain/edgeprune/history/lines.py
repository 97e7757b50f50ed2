"""The history as JSON Lines, one entry a line, to move or merge histories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from edgeprune.core.documents import parse_record
from edgeprune.core.errors import DataError
from edgeprune.core.files import read_lines, write_text_atomically
from edgeprune.history.entry import Entry


def write_lines(path: Path, entries: Iterable[Entry]) -> int:
    """Write entries as JSON Lines, all or nothing, and return how many there were.

    Raises:
        OutputError: the place cannot be written.
    """
    count = 0

    def lines() -> Iterator[str]:
        nonlocal count
        for entry in entries:
            count += 1
            yield f"{entry.model_dump_json()}\n"

    write_text_atomically(path, lines())
    return count


def of_lines(path: Path) -> Iterator[Entry]:
    """Read the entries of a file of JSON Lines, one at a time.

    Raises:
        DataError: it cannot be read, or a line is no entry; the number of the line is named.
    """
    for number, line in enumerate(read_lines(path, DataError), 1):
        if line.strip():
            yield parse_record(Entry, line, f"{path}:{number}: not an entry of a history", DataError)
