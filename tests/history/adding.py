"""A process that adds entries to a history, for the tests: ``adding.py URL FIRST COUNT [KILL_AT]``.

Each entry is a transaction of its own, and its number is printed when it is committed. With KILL_AT the
process kills itself in the middle of the transaction of that entry, its row written.
"""

from __future__ import annotations

import os
import signal
import sys

from sqlalchemy import event
from sqlalchemy.engine import Engine

from edgeprune.history.entry import Entry
from edgeprune.history.store import open_history


def main(url: str, first: int, count: int, kill_at: int | None) -> None:
    with open_history(url) as history:
        for number in range(first, first + count):
            if number == kill_at:
                event.listen(Engine, "after_cursor_execute", die)
            history.add([entry(number)])
            print(number, flush=True)


def die(connection: object, cursor: object, statement: str, *rest: object) -> None:
    if statement.startswith("INSERT"):
        os.kill(os.getpid(), signal.SIGKILL)


def entry(number: int) -> Entry:
    return Entry(
        id=f"run{number}",
        kind="bench",
        name="row",
        machine="here",
        backend="onnxruntime",
        backend_version=None,
        precision="fp32",
        threads=1,
        scenario="single_stream",
        started_utc="2026-01-01T00:00:00+00:00",
        valid=True,
        document=f"{{{' ' * 100_000}}}",  # as long as that of a real result
    )


if __name__ == "__main__":
    url, *numbers = sys.argv[1:]
    first, count, *kill_at = map(int, numbers)
    main(url, first, count, kill_at[0] if kill_at else None)
