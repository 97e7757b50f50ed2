"""Time that others had: the hypervisor by /proc/stat, other processes by the run queue's delay."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from edgeprune.worker.sensors.files import ROOT, text_of, whole

SHORTEST_JUDGED_S = 1.0
"""/proc/stat counts in ticks of 10 ms, and a run queue has its moods: of less time a share means nothing."""


def read_stolen_s(root: Path = ROOT) -> dict[str, float]:
    """Return the seconds since boot that the hypervisor took, by allowed core.

    Empty where /proc/stat is hidden (Android).
    """
    allowed = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    tick = os.sysconf("SC_CLK_TCK")
    rows = [line.split() for line in (text_of(root / "proc/stat") or "").splitlines()]
    told = {row[0]: whole(row[8]) for row in rows if len(row) > 8 and row[0] in allowed}
    return {core: ticks / tick for core, ticks in told.items() if ticks is not None}


def read_waited_s(root: Path = ROOT) -> float | None:
    """Return the seconds that this process's threads were ready to run while others held their cores.

    That is the run-queue delay of /proc/PID/schedstat, None where the kernel does not keep it. It tells of
    foreign work whether or not the process is pinned, and nothing of foreign work that was not in the way.
    """
    told = [text_of(path) for path in (root / "proc/self/task").glob("*/schedstat")]
    delays = [whole(row.split()[1]) for row in told if row and len(row.split()) > 1]
    known = [delay for delay in delays if delay is not None]
    return sum(known) / 1e9 if known else None


@contextlib.contextmanager
def waiting(root: Path = ROOT) -> Iterator[Callable[[], int] | None]:
    """Hand out what tells the nanoseconds that this process's present threads have waited for a core so far.

    It is the figure of `read_waited_s` at a microsecond a call, to be asked between two queries. None where
    the kernel keeps no such account.
    """
    with contextlib.ExitStack() as opened:
        files: list[int] = []
        for path in (root / "proc/self/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                files.append(os.open(path, os.O_RDONLY))
                opened.callback(os.close, files[-1])

        def waited_ns() -> int:
            return sum(int(os.pread(file, 64, 0).split()[1]) for file in files)

        try:
            kept = any(int(os.pread(file, 64, 0).split()[0]) for file in files)
        except (ValueError, IndexError, OSError):
            kept = False
        yield waited_ns if kept else None


def read_busy_s(cores: Iterable[int], root: Path = ROOT) -> float | None:
    """Return the seconds since boot that some cores were not idle, added up; None where it is hidden."""
    wanted = {f"cpu{core}" for core in cores}
    rows = [line.split() for line in (text_of(root / "proc/stat") or "").splitlines()]
    ticks = [
        whole(text) for row in rows if len(row) > 8 and row[0] in wanted for text in (*row[1:4], *row[6:9])
    ]
    known = [tick for tick in ticks if tick is not None]
    return sum(known) / os.sysconf("SC_CLK_TCK") if known else None
