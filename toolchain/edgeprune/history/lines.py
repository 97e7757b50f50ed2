"""The history as JSON Lines, one entry a line, to move or merge histories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from edgeprune.errors import DataError
from edgeprune.files import write_text_atomically
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
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _of_line(line, f"{path}:{number}")
    except (OSError, UnicodeDecodeError) as exc:
        raise DataError(
            f"{path}: cannot be read: {getattr(exc, 'strerror', None) or 'it is not UTF-8'}"
        ) from exc


def _of_line(line: str, where: str) -> Entry:
    try:
        return Entry.model_validate_json(line)
    except ValidationError as exc:
        error = exc.errors()[0]
        field = ".".join(str(part) for part in error["loc"])
        raise DataError(f"{where}: not an entry of a history: {field}: {error['msg']}") from exc
