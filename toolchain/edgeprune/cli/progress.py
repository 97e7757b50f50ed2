"""Progress of long commands: bars with an ETA on a terminal, plain lines elsewhere. All on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeprune.report.cells import plain

Notify = Callable[[str, float, str], None]
LINE_EVERY_S = 15.0


@contextmanager
def stage_progress(quiet: bool = False) -> Iterator[Notify]:
    """Yield a function to call with (stage, share done in [0, 1], a few words)."""
    if quiet:
        yield lambda stage, share, text: None
    elif sys.stderr.isatty():
        with _bars() as notify:
            yield notify
    else:
        yield _lines()


@contextmanager
def _bars() -> Iterator[Notify]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[stage]:<9}", markup=False),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, object] = {}

        def notify(stage: str, share: float, text: str) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(text, total=1.0, stage=stage)
            progress.update(tasks[stage], completed=share, description=text)  # type: ignore[arg-type]

        yield notify


def _lines() -> Notify:
    last: dict[str, tuple[float, str]] = {}
    started: dict[str, float] = {}

    def notify(stage: str, share: float, text: str) -> None:
        now = time.monotonic()
        if share <= 0 or stage not in started:
            started[stage] = now
        before, said = last.get(stage, (-LINE_EVERY_S, ""))
        if text == said or (0 < share < 1 and now - before < LINE_EVERY_S):
            return
        last[stage] = (now, text)
        spent = now - started[stage]
        eta = f", {spent * (1 - share) / share:.0f} s left" if 0 < share < 1 and spent > 1 else ""
        line = plain(text.replace("\n ", ";"))
        sys.stderr.write(f"{stage}: {share:.0%} {line}{eta}\n")
        sys.stderr.flush()

    return notify
