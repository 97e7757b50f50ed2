"""The history as JSON Lines, one entry a line, to move or merge histories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from edgeprune.errors import DataError
from edgeprune.history.entry import Entry


def to_lines(entries: Iterable[Entry]) -> str:
    """Return entries as JSON Lines."""
    return "".join(f"{entry.model_dump_json()}\n" for entry in entries)


def of_lines(path: Path) -> Iterator[Entry]:
    """Read the entries of a file of JSON Lines.

    Raises:
        DataError: it cannot be read, or a line is no entry; the number of the line is named.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise DataError(
            f"{path}: cannot be read: {getattr(exc, 'strerror', None) or 'it is not UTF-8'}"
        ) from exc
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield Entry.model_validate_json(line)
        except ValidationError as exc:
            error = exc.errors()[0]
            where = ".".join(str(part) for part in error["loc"])
            raise DataError(f"{path}:{number}: not an entry of a history: {where}: {error['msg']}") from exc
