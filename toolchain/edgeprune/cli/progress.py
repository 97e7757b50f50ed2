"""Progress of long commands: bars on a terminal, plain lines elsewhere. All on standard error."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout

from edgeprune.cli.remaining import Remaining, duration
from edgeprune.report.cells import plain
from edgeprune.report.console import for_terminal, terminal

Notify = Callable[[str, float, str], None]
Clock = Callable[[], float]
LINE_EVERY_S = 15.0


@contextmanager
def stage_progress(quiet: bool = False, clock: Clock = time.monotonic) -> Iterator[Notify]:
    """Yield a function to call with (stage, share done in [0, 1], a few words).

    What the work itself prints, such as code of the user's, goes to standard error.

    Args:
        clock: seconds of a clock that does not go back.
    """
    with redirect_stdout(sys.stderr):
        if quiet:
            yield lambda stage, share, text: None
        elif sys.stderr.isatty():
            with _bars(clock) as notify:
                yield notify
        else:
            yield _lines(clock)


@contextmanager
def _bars(clock: Clock) -> Iterator[Notify]:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[stage]:<9}", markup=False),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]:<17}", markup=False),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=terminal(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}
        stages: dict[str, Remaining] = defaultdict(Remaining)

        def notify(stage: str, share: float, text: str) -> None:
            left = stages[stage].report(clock(), share)
            shown = for_terminal(text)
            if stage not in tasks:
                tasks[stage] = progress.add_task(shown, total=1.0, stage=for_terminal(stage), left="")
            elif share < progress.tasks[tasks[stage]].completed:  # the same stage again, for another target
                progress.reset(tasks[stage])
            progress.update(tasks[stage], completed=share, description=shown, left=_left(left))

        yield notify


def _lines(clock: Clock) -> Notify:
    said: dict[str, tuple[float, str]] = {}
    stages: dict[str, Remaining] = defaultdict(Remaining)

    def notify(stage: str, share: float, text: str) -> None:
        now = clock()
        left = _left(stages[stage].report(now, share))
        before, words = said.get(stage, (-LINE_EVERY_S, ""))
        if text == words or (0 < share < 1 and now - before < LINE_EVERY_S):
            return
        said[stage] = (now, text)
        line = plain(text.replace("\n ", ";"))
        sys.stderr.write(for_terminal(f"{stage}: {share:.0%} {line}{', ' if left else ''}{left}\n"))
        sys.stderr.flush()

    return notify


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"{duration(seconds)} left"
